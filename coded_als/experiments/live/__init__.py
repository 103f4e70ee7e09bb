"""A running fit or sweep to look at: its status, views of it, on the terminal and as a page on loopback."""
