"""One ALS sweep as d x d algebra: the update, eq. (12), with ridge weight, and the exact objective."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from coded_als.arrays import EPS, Array
from coded_als.errors import UsageError


class RankError(UsageError):
    """A rank above that of the data, which is its ``rank``."""

    rank: int


def update_matrix(gram: Array, projected: Array, regularization: float, error: float) -> Array:
    """The d x d matrix G with B+ = E G.

    With S = F + lam I the update is B+ = E (S^-1 M + lam S)^-1. Without regularisation that is M^-1 F, and M is positive
    definite where the rank of the data allows it; with it, (lam S)^-1 N^-1 with N = I + S^-1 M S^-1 / lam: the
    eigenvalues of N are at least 1 at every rank.

    ``gram``: F = B^T B, (d, d); ``projected``: M = B^T E = B^T D B, (d, d).

    Raises UsageError without regularisation, if the requested rank is above the rank of the data as far as
    rounding shows.
    """
    if regularization > 0:
        sizes, axes = np.linalg.eigh(symmetric(gram))
        shrunk = np.maximum(sizes, 0.0) + regularization
        system = axes.T @ symmetric(projected) @ axes / (regularization * np.outer(shrunk, shrunk))
        values, rotation = np.linalg.eigh(symmetric(np.eye(shrunk.size) + system))
        inverse = (rotation / np.maximum(values, 1.0)) @ rotation.T
        return np.asarray((axes / (regularization * shrunk)) @ inverse @ axes.T)
    system = symmetric(projected)
    _require_rank(system, error)
    try:
        return np.asarray(cho_solve(cho_factor(system, lower=True, check_finite=False), gram, check_finite=False))
    except LinAlgError:
        raise _rank_error(system, error) from None


def swept_coordinates(coordinates: Array, values: Array, regularization: float) -> Array:
    """C+ of B+ = E (S^-1 M + lam S)^-1 = (D X / w) C+ for B = X C, where X has orthonormal Ritz vectors of D.

    The two halves of a sweep shrink singular values s to s / (s^2 + lam): those of C, then those of the other factor in its
    place, sqrt(w) C s^-1 s / (s^2 + lam). Nothing is squared before it is divided, so that a weight below rounding, or a
    rank above that of the data, costs no digits of the rest.

    ``coordinates``: C, (k, d); ``values``: w, Ritz values of X, (k,), positive. Returns (k, d).
    """
    roots = np.sqrt(values)[:, np.newaxis]
    for _ in range(2):
        axes, sizes, directions = np.linalg.svd(coordinates, full_matrices=False)
        coordinates = roots * (axes * (sizes / (sizes**2 + regularization))) @ directions
    return np.asarray(coordinates)


def objective(trace: float, values: Array, coordinates: Array, regularization: float) -> float:
    """||A - U B^T||^2 + lam ||U||^2 + lam ||B||^2 with the best U for B = X C, where X has orthonormal Ritz vectors of D.

    Equals tr D - tr(S^-1 M) + lam tr F, but F = C^T C loses the small directions of B, and S is then singular beside a
    small lam.

    ``values``: Ritz values of X, (k,); ``coordinates``: C, (k, d).
    """
    axes, sizes, _ = np.linalg.svd(coordinates, full_matrices=False)
    squares = sizes**2
    explained = values @ (axes**2 @ (squares / (squares + regularization)))
    return float(trace - explained + regularization * squares.sum())


def inverse_of_gram(gram: Array, regularization: float) -> Array:
    """(F + lam I)^-1, so that the other factor is A B (F + lam I)^-1. ``gram``: F, (d, d). Returns (d, d)."""
    return np.asarray(np.linalg.inv(symmetric(gram) + regularization * np.eye(gram.shape[0])))


def symmetric(matrix: Array) -> Array:
    """The symmetric part, (d, d): a matrix that is symmetric in exact arithmetic stays so after decoding."""
    return np.asarray((matrix + matrix.T) / 2)


def _require_rank(system: Array, error: float) -> None:
    # scaled to a unit diagonal: badly scaled columns of B alone are harmless to Cholesky
    scale = np.sqrt(np.maximum(np.diagonal(system), np.finfo(np.float64).tiny))
    smallest = np.linalg.eigvalsh(system / np.outer(scale, scale))[0]
    if not smallest > floor_of(system.shape[0], error):
        raise _rank_error(system, error)


def floor_of(size: int, error: float) -> float:
    """Relative eigenvalue below which a d x d matrix decoded with this error is singular."""
    return max(size * EPS, error) * 4


def _rank_error(system: Array, error: float) -> UsageError:
    values = np.linalg.eigvalsh(system)
    rank = int(np.sum(values > floor_of(values.size, error) * values[-1]))
    return rank_error(rank, values.size)


def rank_error(found: int, asked: int) -> UsageError:
    """The error for a rank above that of the data."""
    error = RankError(
        f"rank must be at most the rank of the matrix, here {found} as far as rounding can tell; got {asked}. "
        "Lower rank or set regularization > 0."
    )
    error.rank = found
    return error
