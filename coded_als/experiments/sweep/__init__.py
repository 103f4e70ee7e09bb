"""Sweeps: a grid of schemes, cell by cell, stored so that it survives a killed run."""
