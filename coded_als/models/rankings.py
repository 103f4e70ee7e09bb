"""Rankings: ids with their scores, for one or for many."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.models.id_text import is_text
from coded_als.models.ids import Ids

# bound on temporary arrays while many are ranked
MEMORY_BYTES = 32 * 2**20


class Ranking(NamedTuple):
    """Ids and their scores, best first: ``ids, scores = model.recommend(user)``.

    Parameters
    ----------
    ids
        (k,) for one, (many, n) for many, where n is at most the number of all: int64 or str as the model's own. Where
        fewer than n are left, one gets fewer, and the rows of many end in -1 or empty text, with scores of minus
        infinity.
    scores
        Of the same shape, float64.
    """

    ids: Ids
    scores: NDArray[np.float64]


def named(ids: Ids, places: Integers, scores: NDArray[np.float64], *, one: bool) -> Ranking:
    """Ids in the stead of places.

    Parameters
    ----------
    ids
        (ids,) all of them.
    places, scores
        (many, n) places among them, of which -1 is none, and their scores.
    one
        Whether there is one row, whose ranking is asked for without its empty end.
    """
    absent: Any = "" if is_text(ids) else -1
    if ids.dtype.kind == "u":
        absent = np.iinfo(ids.dtype).max
    filled = np.where(places >= 0, ids[places], absent).astype(ids.dtype) if ids.size else np.full(places.shape, absent)
    if not one:
        return Ranking(filled, scores)
    found = places[0] >= 0
    return Ranking(filled[0][found], scores[0][found])
