"""Worker processes: their loop, their connection, and the fleet of a local cluster."""
