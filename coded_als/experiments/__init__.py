"""Experiments: plans, sweeps, the paper's Table I, reports and the demo."""
