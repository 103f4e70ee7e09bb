"""A batch of new ratings in the numbering of a fitted model and its new users and items, for models that learn by steps."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from coded_als.arrays import Floats, Integers
from coded_als.baselines.compiled import require_compiler
from coded_als.baselines.model import SparseModel
from coded_als.data.tables import named_matrix
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import Ids, as_ids
from coded_als.models.rating_matrix import pattern, rating_matrix
from coded_als.models.starting import places_of
from coded_als.models.training import Iteration


@dataclass(frozen=True, eq=False)
class Batch:
    """New ratings among all users and items: those of the model first, then the new ones."""

    user_ids: Ids
    item_ids: Ids
    matrix: sparse.csr_array  # (m, n) the batch alone
    seen: sparse.csr_array  # (m, n) where the model has seen ratings, the batch included
    order: Integers  # (entries,) the places of the entries of the batch among those of ``seen``

    @classmethod
    def of(cls, model: FactorModel, ratings: Any, columns: Sequence[str] | None) -> Batch:
        """The batch that ratings are for a fitted model.

        Raises UsageError for ratings that a model cannot learn from, or without ids where those of the model have names.
        """
        given, ids = named_matrix(ratings, columns)
        matrix = rating_matrix(given, np.float64)
        users, items = places_of(model, matrix.shape, ids)
        if ids is None:
            ids = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
        user_ids, users = _joined("user", model.user_ids, ids[0], users)
        item_ids, items = _joined("item", model.item_ids, ids[1], items)
        shape = len(user_ids), len(item_ids)
        owners = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        batch = sparse.csr_array((matrix.data, (users[owners], items[matrix.indices])), shape=shape)
        batch.sort_indices()
        rows = np.repeat(np.arange(shape[0]), np.diff(batch.indptr))
        keys = rows * shape[1] + batch.indices
        old = np.empty(0, np.int64)
        if model.seen_ is not None:
            old_rows = np.repeat(np.arange(len(model.user_ids)), np.diff(model.seen_.indptr))
            old = old_rows * shape[1] + model.seen_.indices
        both = np.union1d(old, keys)
        indptr = np.searchsorted(both, np.arange(shape[0] + 1) * shape[1])
        seen = pattern(shape, indptr.astype(np.int32), (both % shape[1]).astype(np.int32))
        return cls(user_ids, item_ids, batch, seen, np.searchsorted(both, keys))


def _joined(noun: str, known: Ids, given: Ids, places: Integers) -> tuple[Ids, Integers]:
    """All ids, those of the model first, and the place of each given one."""
    new = np.flatnonzero(places < 0)
    places = places.copy()
    places[new] = len(known) + np.arange(len(new))
    if not len(new):
        return known, places
    ids = [*known.tolist(), *np.asarray(given)[new].tolist()]
    return as_ids(noun, ids, len(ids)), places


def with_new_rows(side: Floats, cold: Floats) -> Floats:
    """A copy of the rows of a side, (rows, d), with those of a random start for the rows that are new."""
    whole = cold.copy()
    whole[: len(side)] = side
    return whole


class LearnsInBatches(SparseModel):
    """A model that learns by steps, and so from a batch of new ratings alone.

    Examples
    --------
    >>> from coded_als import SGD
    >>> from coded_als.data import holdout, load_ratings
    >>> yesterday, today = holdout(load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3"))
    >>> model = SGD(rank=4, iterations=3).fit(yesterday)
    >>> model = model.partial_fit(today)
    """

    def partial_fit(self, ratings: Any, *, columns: Sequence[str] | None = None) -> Self:
        """Learn from a batch of new ratings in one pass; new users and items join the model.

        A model that is not fitted is fitted with one iteration. Steps begin as long as in a new fit.

        Parameters
        ----------
        ratings
            The new ratings alone, in any form that `fit` takes.
        columns
            Names of the columns of a table: users, items and perhaps ratings.

        Raises
        ------
        UsageError
            For ratings that the model cannot learn from, or steps that diverge.
        """
        if not hasattr(self, "user_factors_"):
            return self._fit_once(ratings, columns)
        require_compiler()
        started, batch = time.perf_counter(), Batch.of(self, ratings, columns)
        before = self.history_
        loss = self._learn(batch, np.random.default_rng((self.seed, len(before))))
        self.history_ = [*before, Iteration(len(before) + 1, loss, time.perf_counter() - started)]
        return self.set_ids(batch.user_ids, batch.item_ids)

    def _fit_once(self, ratings: Any, columns: Sequence[str] | None) -> Self:
        """One iteration of a fit from scratch."""
        iterations, self.iterations = self.iterations, 1
        try:
            return self.fit(ratings, columns=columns)
        finally:
            self.iterations = iterations

    @abstractmethod
    def _learn(self, batch: Batch, generator: np.random.Generator) -> float:
        """Pass once over a batch and keep the factors; returns the loss that ``history_`` holds."""
