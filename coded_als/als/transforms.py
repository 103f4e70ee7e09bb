"""Weightings of R before it is factorised: PureSVD is only as good as its reading of the ratings."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy import sparse

from coded_als.models.rating_matrix import require_factorable

Weighting = Literal["none", "binary", "centred", "log"]


def weighted(ratings: Any, weighting: Weighting, mean: float | None = None) -> tuple[Any, float]:
    """The matrix to factorise, and the constant to add to its predictions.

    ``ratings``: R, (m, n), dense or scipy sparse; zeros of a dense R are missing, as are entries that a sparse one
    lacks; ``weighting``: ``"none"``: the ratings; ``"binary"``: 1 for each; ``"centred"``: less their mean, so that
    what is missing counts as the mean; ``"log"``: sign(r) log(1 + |r|).
    """
    if weighting == "none":
        return ratings, 0.0
    if sparse.issparse(ratings):
        matrix = ratings.tocsr().astype(np.float64)
        values, mean = reweighted(matrix.data, weighting, mean)
        return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape), mean
    matrix = np.array(ratings, dtype=np.float64)
    present = matrix != 0
    matrix[present], mean = reweighted(matrix[present], weighting, mean)
    return matrix, mean


def reweighted(values: Any, weighting: Weighting, mean: float | None) -> tuple[Any, float]:
    """The entries to factorise, (entries,), and the constant to add to predictions."""
    if weighting == "none":
        return values, 0.0
    if weighting == "binary":
        return np.ones_like(values), 0.0
    if weighting == "log":
        return np.sign(values) * np.log1p(np.abs(values)), 0.0
    if mean is None:
        mean = float(values.mean()) if values.size else 0.0
    return values - mean, mean


def unit_of(largest: float) -> float:
    """The power of 4 that brings an entry of this size into (1/4, 1]."""
    return float(np.ldexp(1.0, min(2 * -(-np.frexp(largest)[1] // 2), 1022)))


def in_unit(matrix: Any) -> tuple[Any, float]:
    """R in a unit in which nothing that is computed from it can leave float64, and that unit.

    It is the power of 4 that brings the largest entry into (1/4, 1]: dividing by it is exact, and so is multiplying by
    its root.

    Raises UsageError if R is zero, or its squared norm is no float64.
    """
    values = matrix.data if sparse.issparse(matrix) else matrix
    largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    unit = unit_of(largest)
    matrix = matrix if unit == 1.0 else matrix * (1.0 / unit)
    values = matrix.data if sparse.issparse(matrix) else matrix
    require_factorable(largest, float(np.vdot(values, values)) * unit * unit)
    return matrix, unit
