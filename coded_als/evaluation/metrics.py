"""Metrics on plain arrays.

Errors compare predicted with actual ratings. List metrics start from ``hits``, (users, k) booleans that say
which places of each user's list hold a relevant item, and return one number per user.
Järvelin and Kekäläinen (2002) for NDCG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError

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
