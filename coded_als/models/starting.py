"""A fitted model as the start of another fit: its factors for the users and items of new ratings, matched by id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import Ids
from coded_als.models.rating_matrix import as_matrix


@dataclass(frozen=True, eq=False)
class StartSide:
    """Factors of one side of new ratings: zeros for rows that the start says nothing of."""

    factors: Floats  # (rows, d) of the start's rank
    biases: Floats | None  # (rows,)


@dataclass(frozen=True, eq=False)
class Start:
    """Both sides of new ratings as a fitted model has them."""

    users: StartSide
    items: StartSide

    @classmethod
    def of(
        cls,
        start: FactorModel | None,
        ratings: Any,
        ids: tuple[Ids, Ids] | None,
        checkpoint: Checkpoint | None,
        *,
        folds: bool = True,
    ) -> Start | None:
        """The factors that a model has for new ratings, (m, n); rows that it does not know are folded in where it can.

        ``folds``: whether the ratings are here, so that unknown rows can be folded in.
        """
        if start is None:
            return None
        if checkpoint is not None and checkpoint.resume:
            raise UsageError(
                "a fit must begin with start or go on with resume; got both. Leave start out: the checkpoint has gone on "
                "from it."
            )
        if not isinstance(start, FactorModel):
            raise UsageError(
                f"start must be a fitted model; got a {type(start).__name__}. Pass load_model('model.npz') or a model."
            )
        start._require_fitted()
        if not isinstance(start.user_factors_, np.ndarray):
            raise UsageError(
                f"start must be a model with factors of users; got {type(start).__name__}. Pass a model of the same method."
            )
        users, items = places_of(start, ratings.shape, ids)
        if (users < 0).all() and (items < 0).all():
            raise UsageError(
                f"start must share users or items with the ratings; none of {len(users)} users and {len(items)} items is "
                "known to it. Check the ids, or fit without start."
            )
        user_side = _side(start.user_factors_, start.user_biases_, users)
        item_side = _side(start.item_factors_, start.item_biases_, items)
        if folds and np.any(users < 0):
            _fold(user_side, start.fold_in, as_matrix(ratings), users, items, len(start.item_factors_))
        if folds and np.any(items < 0):
            transposed = as_matrix(ratings).T
            _fold(item_side, start.fold_in_items, transposed, items, users, len(start.user_factors_))
        return cls(user_side, item_side)

    def at_rank(self, rank: int) -> Start:
        """The same factors with this many columns: the best product of lower rank, or further columns of zeros."""
        users, items = self.users.factors.astype(np.float64), self.items.factors.astype(np.float64)
        lacking = rank - users.shape[1]
        if lacking < 0:
            (left, upper), (right, lower) = np.linalg.qr(users), np.linalg.qr(items)
            inner, sizes, outer = np.linalg.svd(upper @ lower.T, full_matrices=False)
            roots = np.sqrt(sizes[:rank])
            users, items = left @ (inner[:, :rank] * roots), right @ (outer[:rank].T * roots)
            lacking = rank - users.shape[1]
        users, items = (np.pad(side, ((0, 0), (0, max(lacking, 0)))) for side in (users, items))
        return Start(StartSide(users, self.users.biases), StartSide(items, self.items.biases))

    def put_into(self, users: Floats | None, items: Floats | None, rank: int, units: Any = 1.0) -> None:
        """Overwrite a random start, (m, d) and (n, d) or with biases in a last column, where this start has numbers.

        ``units``: (columns,) the divisors of the factors in units of the fit.
        """
        ranked = self.at_rank(rank)
        for cold, side in ((users, ranked.users), (items, ranked.items)):
            if cold is None:
                continue
            warm = np.zeros(cold.shape)
            warm[:, :rank] = side.factors
            warm[:, rank:] = 0 if side.biases is None else side.biases[:, np.newaxis]
            # rows and columns of zeros would stay zero in most methods
            places = np.ix_(warm.any(axis=1), warm.any(axis=0))
            cold[places] = (warm / units)[places]


def _side(factors: Floats, biases: Floats | None, places: Integers) -> StartSide:
    known = places >= 0
    rows = np.zeros((len(places), factors.shape[1]), factors.dtype)
    rows[known] = factors[places[known]]
    if biases is None:
        return StartSide(rows, None)
    own = np.zeros(len(places), biases.dtype)
    own[known] = biases[places[known]]
    return StartSide(rows, own)


def _fold(side: StartSide, fold: Any, ratings: Any, rows: Integers, columns: Integers, count: int) -> None:
    """Fill the rows that the start does not know with those that it folds in, from the columns that it knows."""
    new = np.flatnonzero(rows < 0)
    entries = sparse.csr_array(ratings)[new].tocoo()
    known = columns[entries.col] >= 0
    if not known.any():
        return
    places = entries.row[known], columns[entries.col[known]]
    try:
        folded = fold(sparse.csr_array((entries.data[known], places), shape=(len(new), count)))
    except UsageError:  # a method without closed form: the rows start as they would without a start
        return
    side.factors[new] = folded.factors
    if side.biases is not None and folded.biases is not None:
        side.biases[new] = folded.biases


def places_of(start: FactorModel, shape: tuple[int, int], ids: tuple[Ids, Ids] | None) -> tuple[Integers, Integers]:
    """The row of the start for each user, (m,), and its column for each item, (n,); -1 for those that it does not know."""
    if ids is not None:
        return start.user_rows(ids[0]), start.item_columns(ids[1])
    for noun, own in (("users", start.user_ids), ("items", start.item_ids)):
        if own.dtype.kind not in "iu" or (own != np.arange(len(own))).any():
            raise UsageError(
                f"ratings must have ids where the {noun} of start have names; got a matrix without. Pass the result of "
                "load_ratings or a table with columns."
            )
    sizes = len(start.user_factors_), len(start.item_factors_)
    places = [
        np.where(np.arange(count) < known, np.arange(count), -1) for count, known in zip(shape, sizes, strict=True)
    ]
    return places[0], places[1]
