"""Strong generalisation: users that the model was not trained on, folded in by a part of their chosen items.

For graphs this is the protocol of Mehta, Rendle, Krichene, Zhang, "ALX: Large Scale Matrix Factorization on TPUs"
(2021), section 5: a tenth of the source nodes is held out of training, three quarters of the links of each fold it in,
and the others are to be among the first 20 or 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coded_als.checks import RNG, seed_from
from coded_als.errors import UsageError
from coded_als.evaluation.held_out import left_out
from coded_als.evaluation.metrics import ExpectedLists, expected_lists
from coded_als.models.factor_model import FactorModel
from coded_als.models.top_n import recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ratings import RatingData


@dataclass(frozen=True)
class StrongScores:
    """Means over the users that were held out, and over the orders of items that score the same.

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
    model: FactorModel,
    test: RatingData,
    cutoffs: Sequence[int] = (20, 50),
    *,
    hidden: float = 0.25,
    seed: int | None = None,
    rng: RNG = None,
    memory_limit_bytes: int = 32 * 2**20,
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
    hidden
        Share of a user's ratings that is looked for, rounded so that either part has one; the others fold it in.
    seed
        Of the choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    memory_limit_bytes
        Bound on the temporary arrays.

    Raises
    ------
    UsageError
        When the test part has no user to hold out, or for a cutoff or share that makes no sense.
    """
    for cutoff in cutoffs:
        require_count(cutoff)
    if not cutoffs or not 0 < hidden < 1:
        raise UsageError(f"hidden must be between 0 and 1, for one list or more; got {hidden} and {cutoffs}.")
    rows = _held_out(model, test)
    looked_for = left_out(rows, hidden, seed_from(seed, rng))
    given, truth = _part(rows, ~looked_for), _part(rows, looked_for)
    users, items = rows.shape
    width = min(max(cutoffs), items)
    # a bias of the user shifts all its scores alike
    limits: Any = {"seen": given, "memory_limit_bytes": memory_limit_bytes}
    folded = model.fold_in(given).factors
    lists = expected_lists(
        lambda n: model.best_columns(folded, n, **limits),
        folded,
        model.item_factors_,
        model.item_biases_,
        truth,
        width,
        **limits,
    )
    popularity = None
    if model.seen_ is not None:
        counts = np.bincount(model.seen_.indices, minlength=items).astype(np.float64)[:, None]
        alike = np.ones((users, 1))
        popular = expected_lists(
            lambda n: recommend_batch(alike, counts, n, **limits), alike, counts, None, truth, width, **limits
        )
        popularity = _recall(popular, truth, cutoffs)
    return StrongScores(users, _recall(lists, truth, cutoffs), popularity)


def _held_out(model: FactorModel, test: RatingData) -> csr_array:
    """The rows of the users that the model was not trained on and that have two items it knows, in its columns."""
    from scipy.sparse import csr_array

    rows, columns, values = test.triples()
    columns = model.item_columns(test.item_ids)[columns]
    places = model.user_rows(test.user_ids)
    trained = places >= 0
    if model.seen_ is not None:
        # users that are only named: their ratings were held out of the fit
        trained[trained] = np.diff(model.seen_.indptr)[places[trained]] > 0
    usable = (columns >= 0) & ~trained[rows]
    counts = np.bincount(rows[usable], minlength=len(places))
    usable &= counts[rows] >= 2
    if not usable.any():
        raise UsageError(
            "the test part must have users outside of training with two items or more that the model knows; "
            f"{test.source} has none. Fit with some held out: fit --hold-out-users 0.1."
        )
    numbers, row = np.unique(rows[usable], return_inverse=True)
    return csr_array((values[usable], (row, columns[usable])), shape=(numbers.size, len(model.item_factors_)))


def _part(matrix: csr_array, chosen: np.ndarray) -> csr_array:
    from scipy.sparse import csr_array

    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return csr_array((matrix.data[chosen], (rows[chosen], matrix.indices[chosen])), shape=matrix.shape)


def _recall(lists: ExpectedLists, truth: csr_array, cutoffs: Sequence[int]) -> dict[int, float]:
    return {cutoff: float(lists.recall(np.diff(truth.indptr), cutoff).mean()) for cutoff in cutoffs}
