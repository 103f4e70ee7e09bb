"""Costs of a fit before it runs: schemes, their times, the choice of a code, plans."""
