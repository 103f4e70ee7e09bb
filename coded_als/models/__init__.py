"""Fitted models: factors, ids, the best n, rating matrices, files, and the registry of models."""
