"""Metrics on plain arrays, and their means over the order of equal scores.

Errors compare predicted with actual ratings. List metrics start from ``hits``, (users, k) booleans that say
which places of each user's list hold a relevant item, and return one number per user.
Järvelin and Kekäläinen (2002) for NDCG.

Items that score the same stand in any order with the same chance (McSherry and Najork, "Computing Information Retrieval
Performance Measures Efficiently in the Presence of Tied Scores", 2008). All means here are exact, none is sampled, so
that nothing depends on how items are named or numbered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.top_n import top_n

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Hits = NDArray[np.bool_]


def rmse(predicted: Floats, actual: Floats) -> float:
    """Root of the mean squared error; `UsageError` without ratings.

    Parameters
    ----------
    predicted
        Ratings as predicted, (k,).
    actual
        Ratings as given, (k,).
    """
    return float(np.sqrt(np.mean(np.square(_differences(predicted, actual)))))


def mae(predicted: Floats, actual: Floats) -> float:
    """Mean absolute error; `UsageError` without ratings.

    Parameters
    ----------
    predicted
        Ratings as predicted, (k,).
    actual
        Ratings as given, (k,).
    """
    return float(np.mean(np.abs(_differences(predicted, actual))))


def find_hits(recommended: Integers, relevant: csr_array) -> Hits:
    """Which recommended columns are relevant.

    Parameters
    ----------
    recommended
        (users, k) columns, best first; -1 where a list is shorter.
    relevant
        (users, items) sparse: stored entries are relevant.

    Returns
    -------
    (users, k)
    """
    users, items = relevant.shape
    # one sorted list of (user, item) keys, searched once
    wanted = np.repeat(np.arange(users), np.diff(relevant.indptr)) * items + relevant.indices
    keys = np.arange(users)[:, None] * items + recommended
    return np.asarray(np.isin(keys, wanted) & (recommended >= 0))


def hit_rate(hits: Hits) -> Floats:
    """1 for a list with a hit, 0 for one without; (users,)."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def precision(hits: Hits) -> Floats:
    """Hits over the k places of the list; (users,)."""
    return np.asarray(hits.mean(axis=1))


def recall(hits: Hits, relevant: Integers) -> Floats:
    """Hits over the number of relevant items, ``relevant`` (users,), each at least 1; (users,).

    Parameters
    ----------
    hits
        Which places of each list are relevant, (users, k).
    relevant
        Number of relevant items, (users,), each at least 1.
    """
    return np.asarray(hits.sum(axis=1) / relevant)


def average_precision(hits: Hits, relevant: Integers) -> Floats:
    """Sum over hits of the precision up to their place, over min(k, relevant); its mean over users is MAP.

    Parameters
    ----------
    hits
        Which places of each list are relevant, (users, k).
    relevant
        Number of relevant items, (users,), each at least 1.

    Returns
    -------
    (users,).
    """
    places = np.arange(1, hits.shape[1] + 1)
    at_hits = (np.cumsum(hits, axis=1) / places * hits).sum(axis=1)
    return np.asarray(at_hits / np.minimum(relevant, hits.shape[1]))


def ndcg(hits: Hits, relevant: Integers) -> Floats:
    """Gain 1 / log2(place + 1) of each hit, over that of a list with all relevant items in front; (users,).

    Parameters
    ----------
    hits
        Which places of each list are relevant, (users, k).
    relevant
        Number of relevant items, (users,), each at least 1.
    """
    gains = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(gains)[np.minimum(relevant, hits.shape[1]) - 1]
    return np.asarray(hits @ gains / ideal)


def reciprocal_rank(hits: Hits) -> Floats:
    """One over the place of the first hit, 0 without one, (users,); its mean is MRR."""
    return np.where(hits.any(axis=1), 1.0 / (1 + hits.argmax(axis=1)), 0.0)


def coverage(recommended: Integers, items: int) -> float:
    """Share of the catalogue that is recommended to anybody.

    Parameters
    ----------
    recommended
        Item indices of the lists, (users, k).
    items
        Size of the catalogue.
    """
    return float(np.unique(recommended[recommended >= 0]).size / items)


def ranks_among(positive: NDArray[np.floating[Any]], negatives: NDArray[np.floating[Any]]) -> Integers:
    """Place, from 0, of each positive score among the negative ones of its case.

    A negative that scores the same comes before the positive, and a score that is not a number comes last:
    a model that gives all items one score must not look like a perfect one.

    Parameters
    ----------
    positive
        (cases,)
    negatives
        (cases, negatives)
    """
    return np.asarray((~(negatives < positive[:, None])).sum(axis=1))


def _differences(predicted: Floats, actual: Floats) -> Floats:
    predicted, actual = np.asarray(predicted), np.asarray(actual)
    if predicted.shape != actual.shape or not actual.size:
        raise UsageError(
            f"predictions and ratings must be equally many, at least one; got {predicted.size} and {actual.size}. "
            "Pass one prediction for each rating."
        )
    return predicted - actual


Rank = Callable[[int], tuple[Integers, NDArray[np.float64]]]
# scores, a copy to partition, its indices and a comparison mask, per user and item
_BYTES_PER_SCORE = 8 + 8 + 8 + 1


@dataclass(frozen=True, eq=False)
class ExpectedLists:
    """The places of each user's list, and the groups of equal scores that share them."""

    # (users, k) items in the group of each place, at least 1, and how many of them are relevant. A group may go on past
    # the end of the list. A place that nothing is left for has a group of one that is not relevant.
    sizes: Floats
    relevant: Floats
    offsets: Floats  # (users, k) places of the list in front of this one and in the same group
    chances: Floats  # (items,) of being in at least one list

    @property
    def hits(self) -> Floats:
        """(users, k) chance of a relevant item at each place."""
        return np.asarray(self.relevant / self.sizes)

    @property
    def _none_so_far(self) -> Floats:
        """(users, k) chance of no relevant item up to each place."""
        left = self.sizes - self.offsets
        return np.cumprod(np.maximum(left - self.relevant, 0) / left, axis=1)

    def hit_rate(self) -> Floats:
        """(users,) chance of a hit."""
        return np.asarray(1.0 - self._none_so_far[:, -1])

    def precision(self) -> Floats:
        """(users,) hits over the places of the list."""
        return np.asarray(self.hits.mean(axis=1))

    def recall(self, relevant: Integers, k: int | None = None) -> Floats:
        """(users,) hits among the first k places over the number of relevant items, ``relevant`` (users,)."""
        return np.asarray(self.hits[:, :k].sum(axis=1) / relevant)

    def ndcg(self, relevant: Integers) -> Floats:
        """(users,) as `coded_als.evaluation.ndcg`, of which each hit has its chance."""
        width = self.sizes.shape[1]
        gains = 1.0 / np.log2(np.arange(2, width + 2))
        return np.asarray(self.hits @ gains / np.cumsum(gains)[np.minimum(relevant, width) - 1])

    def average_precision(self, relevant: Integers) -> Floats:
        """(users,) as `coded_als.evaluation.average_precision`: with a hit come those before it in its own group too."""
        width = self.sizes.shape[1]
        before = np.cumsum(self.hits, axis=1) - self.hits * (1 + self.offsets)
        others = self.offsets * np.maximum(self.relevant - 1, 0) / np.maximum(self.sizes - 1, 1)
        at_hits = (self.hits * (before + 1 + others) / np.arange(1, width + 1)).sum(axis=1)
        return np.asarray(at_hits / np.minimum(relevant, width))

    def reciprocal_rank(self) -> Floats:
        """(users,) one over the place of the first hit, 0 without one."""
        first = -np.diff(self._none_so_far, axis=1, prepend=1.0)
        return np.asarray((first / np.arange(1, first.shape[1] + 1)).sum(axis=1))


def expected_lists(
    rank: Rank,
    users: Floats,
    items: Floats,
    biases: Floats | None,
    relevant: csr_array,
    width: int,
    *,
    seen: csr_array | None,
    memory_limit_bytes: int,
) -> ExpectedLists:
    """The lists that scores ``users @ items.T + biases`` give; the numbering of the items has no influence.

    ``rank``: maps a length n to the columns and scores of the n best of every user, (users, n) each, in any order
    of equal ones; ``users, items, biases``: (users, d), (items, d), and (items,) or None; ``relevant``: (users,
    items) sparse: stored entries are relevant; ``seen``: (users, items) sparse: stored entries are in no list.
    """
    places, scores = rank(min(width + 1, len(items)))
    unclear = np.flatnonzero(_are_close(scores, users, items, biases).any(axis=1))
    listed = places[:, :width]
    groups = np.stack([np.ones(listed.shape), find_hits(listed, relevant), np.zeros(listed.shape)])
    clear = np.delete(listed, unclear, axis=0)
    misses = np.zeros(len(items))
    misses[clear[clear >= 0]] = -np.inf
    if unclear.size:
        table, copies = _distinct(items, biases)
        step = max(1, int(memory_limit_bytes) // (_BYTES_PER_SCORE * len(items)))
        for start in range(0, unclear.size, step):
            rows = unclear[start : start + step]
            scored = (users[rows].astype(np.float64) @ table[:, :-1].T + table[:, -1])[:, copies]
            if seen is not None:
                some = seen[rows]
                scored[np.repeat(np.arange(rows.size), np.diff(some.indptr)), some.indices] = -np.inf
            groups[:, rows] = _grouped(scored, relevant[rows], width, misses)
    return ExpectedLists(groups[0], groups[1], groups[2], -np.expm1(misses))


def _are_close(scores: NDArray[np.float64], users: Floats, items: Floats, biases: Floats | None) -> NDArray[np.bool_]:
    """(users, n - 1) whether a score and the next are equal but for rounding, in which places of a matrix differ."""
    largest = np.linalg.norm(items, axis=1).max(initial=0.0)
    sizes = np.linalg.norm(users, axis=1) * largest + (0.0 if biases is None else np.abs(biases).max(initial=0.0))
    rounding = 2 * (users.shape[1] + 2) * np.finfo(np.result_type(users, items, np.float32)).eps
    above, below = scores[:, :-1], scores[:, 1:]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(below) & (above - below <= rounding * sizes[:, None]))


def _distinct(items: Floats, biases: Floats | None) -> tuple[Floats, Integers]:
    """The distinct rows of factors and bias, (distinct, d + 1), in an order of their own, and the row of each item.

    Each of these is scored once: a product of matrices gives equal rows scores that differ in the last digit.
    """
    offsets = np.zeros(len(items)) if biases is None else biases
    table = np.ascontiguousarray(np.column_stack((items, offsets)), dtype=np.float64) + 0.0  # one zero, not two
    keys = table.view(np.dtype((np.void, table.shape[1] * table.itemsize))).ravel()
    _, first, copies = np.unique(keys, return_index=True, return_inverse=True)
    return table[first], copies.ravel()


def _grouped(scored: Floats, relevant: csr_array, width: int, misses: Floats) -> NDArray[np.float64]:
    """Sizes, relevant items and offsets of the groups, (3, users, width); the logarithms of misses are added up."""
    users = len(scored)
    places, best = top_n(scored, width)
    filled = np.isfinite(best)
    starts = np.ones(best.shape, dtype=np.bool_)
    starts[:, 1:] = ~filled[:, 1:] | (best[:, 1:] != best[:, :-1])
    group = np.cumsum(starts.ravel()) - 1
    hits = find_hits(places, relevant).ravel()
    sizes, found = np.bincount(group).astype(np.float64), np.bincount(group, hits)
    slots = sizes.copy()
    offsets = np.arange(width) - np.maximum.accumulate(np.where(starts, np.arange(width), 0), axis=1)
    # the last group may be larger than its part of the list
    last, end = group.reshape(best.shape)[:, -1], np.where(filled[:, -1], best[:, -1], np.nan)
    level = scored == end[:, None]
    row = np.repeat(np.arange(users), np.diff(relevant.indptr))
    full = filled[:, -1]
    sizes[last[full]] = level.sum(axis=1)[full]
    found[last[full]] = np.bincount(row, level[row, relevant.indices], users)[full]
    with np.errstate(divide="ignore"):
        rows, columns = np.nonzero(level)
        np.add.at(misses, columns, np.log1p(-(slots / sizes)[last[rows]]))
    above = places[filled & (best != end[:, None])]
    misses[above] = -np.inf
    return np.stack([sizes[group].reshape(best.shape), found[group].reshape(best.shape), offsets.astype(np.float64)])
