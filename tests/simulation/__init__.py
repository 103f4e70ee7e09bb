"""A deterministic simulation: the real master and the real workers on one virtual clock, under faults that a seed draws.

`python -m tests.simulation SEED` replays one seed and shrinks it where it fails.
"""
