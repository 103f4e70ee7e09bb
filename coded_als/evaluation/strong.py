"""Strong generalisation: users that the model was not trained on, folded in by a part of what they chose.

For graphs this is the protocol of Mehta, Rendle, Krichene, Zhang, "ALX: Large Scale Matrix Factorization on TPUs"
(2021), section 5: a tenth of the source nodes is held out of training, three quarters of the links of each fold it in,
and the others are to be among the first 20 or 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.evaluation.metrics import find_hits, recall
from coded_als.models.factor_model import FactorModel
from coded_als.models.top_n import recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ratings import RatingData

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class StrongScores:
    """Means over the users that were held out.

    Parameters
    ----------
    users
        How many count: those with two items or more that the model knows.
    recall
        By length of the list, the share of a user's hidden items that is in it.
    popularity
        The same for lists of the items that most users of the training part chose; None where the model does not
        know them.
    """

    users: int
    recall: dict[int, float]
    popularity: dict[int, float] | None


def evaluate_strong(
    model: FactorModel, test: RatingData, cutoffs: Sequence[int] = (20, 50), *, known: float = 0.75, seed: int = 0
) -> StrongScores:
    """Fold the users of the test part in by some of their ratings and look for the others in their lists.

    Parameters
    ----------
    model
        Fitted, with ``fold_in``.
    test
        Ratings; those of users that the model was trained on are left out.
    cutoffs
        Lengths of the lists.
    known
        Share of a user's ratings, rounded so that either part has one, that folds the user in.
    seed
        Of the choice.

    Raises
    ------
    UsageError
        When no user can be held to it, or for a cutoff or share that makes no sense.
    """
    for cutoff in cutoffs:
        require_count(cutoff)
    if not cutoffs or not 0 < known < 1:
        raise UsageError(f"known must be between 0 and 1, for one list or more; got {known} and {cutoffs}. Correct it.")
    given, hidden = hide(_held_out(model, test), known=known, seed=seed)
    users = model.fold_in(given)
    width = min(max(cutoffs), given.shape[1])
    # a bias of the user shifts all its scores alike
    lists, _ = model.best_columns(users.factors, width, seen=given)
    popularity = None
    if model.seen_ is not None:
        counts = np.bincount(model.seen_.indices, minlength=given.shape[1]).astype(np.float64)
        popular, _ = recommend_batch(np.ones((given.shape[0], 1)), counts[:, None], width, seen=given)
        popularity = _recall(popular, hidden, cutoffs)
    return StrongScores(given.shape[0], _recall(lists, hidden, cutoffs), popularity)


def hide(matrix: csr_array, *, known: float = 0.75, seed: int = 0) -> tuple[csr_array, csr_array]:
    """Part the entries of every row at random.

    Parameters
    ----------
    matrix
        (users, items) with two entries or more in every row.
    known
        Share of the first part, rounded so that either part has an entry.
    seed
        Of the choice.

    Returns
    -------
    given, hidden
        Both (users, items).
    """
    from scipy.sparse import csr_array

    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(counts.size), counts)
    shuffled = np.lexsort((np.random.default_rng(seed).random(rows.size), rows))
    place = np.arange(rows.size) - np.repeat(matrix.indptr[:-1], counts)
    of_hidden = np.clip(np.floor((1 - known) * counts + 0.5), 1, counts - 1)
    is_hidden = np.empty(rows.size, dtype=np.bool_)
    is_hidden[shuffled] = place < np.repeat(of_hidden, counts)
    parts = []
    for chosen in (~is_hidden, is_hidden):
        parts.append(
            csr_array((matrix.data[chosen], (rows[chosen], matrix.indices[chosen])), shape=matrix.shape)
        )
    return parts[0], parts[1]


def _held_out(model: FactorModel, test: RatingData) -> csr_array:
    """The rows of the users that the model was not trained on and that have two items it knows, in its columns."""
    from scipy.sparse import csr_array

    rows, columns, values = test.triples()
    columns = model.item_columns(test.item_ids)[columns]
    places = model.user_rows(test.user_ids)
    trained = np.zeros(len(places), dtype=np.bool_)
    if model.seen_ is not None:
        trained[places >= 0] = np.diff(model.seen_.indptr)[places[places >= 0]] > 0
    else:
        trained = places >= 0
    usable = (columns >= 0) & ~trained[rows]
    counts = np.bincount(rows[usable], minlength=len(places))
    usable &= counts[rows] >= 2
    if not usable.any():
        raise UsageError(
            "the test part must have users outside of training with two items or more that the model knows; "
            f"{test.source} has none. Hold some out: fit --hold-out-users 0.1."
        )
    _, row = np.unique(rows[usable], return_inverse=True)
    shape: Any = (int(row.max()) + 1, len(model.item_factors_))
    return csr_array((values[usable], (row, columns[usable])), shape=shape)


def _recall(lists: Integers, hidden: csr_array, cutoffs: Sequence[int]) -> dict[int, float]:
    hits = find_hits(lists, hidden)
    return {cutoff: float(recall(hits[:, :cutoff], np.diff(hidden.indptr)).mean()) for cutoff in cutoffs}
