"""The best n items for many users, in blocks that respect a memory limit.

Everything here speaks of rows and columns; original ids are `coded_als.models.factor_model`' business.
Equal scores go to the lower column, so the result does not depend on the block size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


# scores, the partition's indices and a comparison mask: the arrays that are alive at once, per user and item
_BYTES_PER_SCORE = 8 + 8 + 1


def top_n(scores: Floats, n: int) -> tuple[Integers, NDArray[np.float64]]:
    """The n largest of each row, largest first.

    ``scores``: (rows, columns); minus infinity marks a column that must not appear. Returns columns, scores Both
    (rows, n); where a row has fewer than n columns to offer, -1 and minus infinity.
    """
    rows, columns = scores.shape
    width = min(n, columns)
    if width < columns:
        best = np.argpartition(scores, columns - width, axis=1)[:, columns - width :]
        _settle_ties(scores, best)
    else:
        best = np.broadcast_to(np.arange(columns), (rows, columns))
    values = np.take_along_axis(scores, best, axis=1).astype(np.float64)
    order = np.lexsort((best, -values), axis=1)
    ids = np.full((rows, n), -1, dtype=np.int64)
    out = np.full((rows, n), -np.inf)
    ids[:, :width] = np.take_along_axis(best, order, axis=1)
    out[:, :width] = np.take_along_axis(values, order, axis=1)
    ids[np.isneginf(out)] = -1
    return ids, out


def best_of(scores: Floats, n: int) -> tuple[Integers, NDArray[np.float64]]:
    """The n largest of one row, largest first: `top_n` for one, and no more than there are.

    ``scores``: (columns,); minus infinity marks a column that must not appear. Returns columns, scores Both (k,)
    with k at most n.
    """
    candidates = (scores >= _surely_among(scores, n)).nonzero()[0]
    values = scores[candidates].astype(np.float64)
    # stable, so that of equal ones the lower column comes first
    order = (-values).argsort(kind="stable")[:n]
    order = order[values[order] > -np.inf]
    return candidates[order], values[order]


def _surely_among(scores: Floats, n: int) -> float:
    """A score that at least n of one row reach, and few more than n: the n-th largest of the largest of many groups."""
    groups = 8 * n
    if scores.size < 4 * groups:
        return -np.inf
    whole = scores.size // groups * groups
    largest = scores[:whole].reshape(-1, groups).max(axis=0)
    return float(np.partition(largest, groups - n)[groups - n])


def _settle_ties(scores: Floats, best: Integers) -> None:
    """Where the last place is shared, give it to the lowest columns, in place (a partition picks at random)."""
    chosen = np.take_along_axis(scores, best, axis=1)
    last = chosen.min(axis=1, keepdims=True)
    shared = np.count_nonzero(scores >= last, axis=1) > best.shape[1]
    for row in np.flatnonzero(shared & ~np.isneginf(last[:, 0])):
        above = np.flatnonzero(scores[row] > last[row])
        level = np.flatnonzero(scores[row] == last[row])
        best[row] = np.concatenate((above, level[: best.shape[1] - above.size]))


def recommend_batch(
    user_factors: Floats,
    item_factors: Floats,
    n: int = 10,
    *,
    item_biases: Floats | None = None,
    seen: csr_array | None = None,
    exclude: Iterable[int] = (),
    memory_limit_bytes: int = 32 * 2**20,
) -> tuple[Integers, NDArray[np.float64]]:
    """The n best columns for every row of ``user_factors``, by ``user_factors @ item_factors.T + item_biases``.

    A term that is constant over a user's items (a user bias, a mean) does not change the order; the caller adds it.

    Parameters
    ----------
    user_factors
        Factors of the users, (users, d).
    item_factors
        Factors of the items, (items, d).
    n
        How many for each user, at least 1.
    item_biases
        (items,), added to every user's scores.
    seen
        (users, items) sparse: a stored entry of any value is not recommended.
    exclude
        Columns that no user is recommended.
    memory_limit_bytes
        Bound on the temporary arrays; at least one user's scores must fit.

    Returns
    -------
    columns, scores
        Both (users, n), best first; -1 and minus infinity where fewer than n columns are left.

    Raises
    ------
    UsageError
        For n < 1, shapes that do not match, an exclusion out of range, or a limit below one user's scores.
    """
    require_ranking(user_factors, item_factors, n, item_biases, seen)
    hidden = columns_left_out(exclude, item_factors.shape[0])
    users, items = user_factors.shape[0], item_factors.shape[0]
    block = int(memory_limit_bytes) // (_BYTES_PER_SCORE * max(items, 1))
    if block < 1:
        raise UsageError(
            f"memory_limit_bytes must be at least {_BYTES_PER_SCORE * items} for {items} items; "
            f"got {memory_limit_bytes}. Raise it."
        )
    ids = np.empty((users, n), dtype=np.int64)
    best = np.empty((users, n))
    for start in range(0, users, block):
        rows = slice(start, min(start + block, users))
        scores = user_factors[rows] @ item_factors.T
        if item_biases is not None:
            scores += item_biases
        if seen is not None:
            _hide_seen(scores, seen, rows)
        scores[:, hidden] = -np.inf
        ids[rows], best[rows] = top_n(scores, n)
    return ids, best


def _hide_seen(scores: Floats, seen: csr_array, rows: slice) -> None:
    ends = seen.indptr[rows.start : rows.stop + 1]
    local = np.repeat(np.arange(rows.stop - rows.start), np.diff(ends))
    scores[local, seen.indices[ends[0] : ends[-1]]] = -np.inf


def columns_left_out(exclude: Iterable[int], items: int) -> Integers:
    """Columns (k,) that no user is recommended, as an array."""
    columns = np.array(list(exclude) if np.iterable(exclude) else exclude)
    if columns.ndim != 1 or (columns.size and columns.dtype.kind not in "iu"):
        raise UsageError(f"exclude must name columns by whole numbers; got {exclude!r}. Pass a list of them.")
    columns = columns.astype(np.int64)
    outside = columns[(columns < 0) | (columns >= items)]
    if outside.size:
        raise UsageError(
            f"exclude must name columns from 0 to {items - 1}; got {outside[0]}. Remove it from the exclusions."
        )
    return columns


def require_ranking(
    user_factors: Floats, item_factors: Floats, n: int, item_biases: Floats | None, seen: csr_array | None
) -> None:
    """Raise `UsageError` unless these can be ranked."""
    require_count(n)
    if user_factors.ndim != 2 or item_factors.ndim != 2 or user_factors.shape[1] != item_factors.shape[1]:
        raise UsageError(
            f"factors must be matrices of one rank; got {user_factors.shape} and {item_factors.shape}. "
            "Pass (users, rank) and (items, rank)."
        )
    if item_biases is not None and item_biases.shape != item_factors.shape[:1]:
        raise UsageError(
            f"item_biases must be one number per item, {item_factors.shape[:1]}; got {item_biases.shape}. "
            "Pass one per row of item_factors."
        )
    if seen is not None and seen.shape != (user_factors.shape[0], item_factors.shape[0]):
        raise UsageError(
            f"seen must have one row per user and one column per item; got {seen.shape} for "
            f"{user_factors.shape[0]} users and {item_factors.shape[0]} items. Select the same rows from both."
        )


def require_count(n: int) -> None:
    """Raise `UsageError` unless n is a whole number of at least 1."""
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise UsageError(f"n must be a whole number, at least 1; got {n!r}.")
