"""Checks of what workers make of sparse rows: products by Freivalds' check, exact half-steps by their residuals."""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.arrays import Array, Places
from coded_als.cluster.freivalds import Comparison, bounded, norms


def row_key(combinations: Array, data: Array, indices: Places, indptr: Places, columns: int) -> Array:
    """V A_k for a csr block A_k and V (k, rows): (k, columns).

    Parameters
    ----------
    combinations
        V, (k, rows).
    data, indices, indptr
        A_k, as in csr.
    columns
        Of A_k.
    """
    return np.asarray((_csr(data, indices, indptr, columns).T @ combinations.T).T)


def row_gram_key(combinations: Array, data: Array, indices: Places, indptr: Places) -> Array:
    """V A_k^T A_k for a csr block A_k and V (k, columns): (k, columns).

    Parameters
    ----------
    combinations
        V, (k, columns).
    data, indices, indptr
        A_k, as in csr.
    """
    block = _csr(data, indices, indptr, combinations.shape[1])
    return np.asarray((block.T @ (block @ combinations.T)).T)


def row_transposed_key(combinations: Array, data: Array, indices: Places, indptr: Places) -> Array:
    """V A_k^T for a csr block A_k and V (k, columns): (k, rows).

    Parameters
    ----------
    combinations
        V, (k, columns).
    data, indices, indptr
        A_k, as in csr.
    """
    return np.asarray((_csr(data, indices, indptr, combinations.shape[1]) @ combinations.T).T)


def check_rows(combinations: Array, key: Array, size: float, right: Array, response: Array, inner: int) -> Comparison:
    """Of a product with sparse rows.

    Parameters
    ----------
    combinations, key
        V, and V times what ``right`` is multiplied by.
    size
        Frobenius norm of that, or a bound on it.
    right, response
        X (l, b), and the response.
    inner
        The most terms in one of its sums.
    """
    bound = bounded(size * norms(right), inner, len(response))
    return Comparison(combinations @ response, key @ right, bound)


def check_half_step(
    indptr: Places,
    indices: Places,
    curvature: Array,
    target: Array,
    ridge: Array,
    fixed: Array,
    gram: Array,
    response: Array,
) -> Comparison:
    """Of the exact half-step `coded_als.kernels.solve_rows`: every row must solve its normal equations.

    Nothing is random here: a residual costs the rank-th part of forming the equations.

    Parameters
    ----------
    indptr, indices
        Pattern of the ratings by rows, as in csr.
    curvature, target
        Weight and weighted rating of each entry, (entries,).
    ridge
        Ridge weight of each row, (rows,).
    fixed
        The factor of the other side, (others, d).
    gram
        What all rows share, (d, d).
    response
        The rows as solved, (rows, d).
    """
    owners = np.repeat(np.arange(ridge.size), np.diff(indptr))
    shape = ridge.size, len(fixed)
    with np.errstate(all="ignore"):
        scores = np.einsum("ed,ed->e", response[owners], fixed[indices])
        observed = response @ gram + ridge[:, np.newaxis] * response
        observed += _csr(curvature * scores, indices, indptr, shape[1]) @ fixed
        expected = _csr(target, indices, indptr, shape[1]) @ fixed
        lengths = np.sqrt(np.einsum("ed,ed->e", fixed, fixed))[indices]
        forms = np.linalg.norm(gram) + ridge + np.bincount(owners, np.abs(curvature) * lengths**2, ridge.size)
        sizes = forms * np.sqrt(np.einsum("ed,ed->e", response, response))
        sizes += np.bincount(owners, np.abs(target) * lengths, ridge.size)
    longest = int(np.diff(indptr).max(initial=0))
    return Comparison(observed, expected, bounded(sizes, longest, gram.shape[0] ** 2)[:, np.newaxis])


def _csr(data: Array, indices: Places, indptr: Places, columns: int) -> Any:
    # SciPy loads slowly, and only who verifies needs it here
    from scipy.sparse import csr_array

    return csr_array((data, indices, indptr), shape=(indptr.size - 1, columns))
