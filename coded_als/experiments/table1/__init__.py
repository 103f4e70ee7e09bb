"""Table I of the paper: its numbers, its formula, and the reproduction."""
