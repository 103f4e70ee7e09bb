"""SGD on squared loss."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.batches import Batch, LearnsInBatches, with_new_rows
from coded_als.baselines.loops import squared_loss_epoch
from coded_als.baselines.quadratic import QuadraticModel
from coded_als.checks import RNG, require_number, seed_from
from coded_als.models.rating_matrix import pattern
from coded_als.models.starting import Start
from coded_als.models.training import FitRecorder, set_generator


class SGD(LearnsInBatches, QuadraticModel):
    """Explicit ratings by ``mean + user bias + item bias + u . v``, one rating at a time (Funk's matrix factorization).

    Every iteration visits all ratings in a new random order. ``history_`` holds the sum over one pass of squared
    error plus regularisation, each term taken just before its own step.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Weight of the penalty of factors and biases, for each rating.
    iterations
        Passes over the ratings.
    learning_rate
        Step size, greater than 0.
    init_scale
        Standard deviation of a random starting entry.
    seed
        Seed of the start and the order; equal seeds give equal models.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    dtype
        Type of all arithmetic, ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> from coded_als import SGD
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=40,n=30,d=4,noise=0.1,density=0.4,seed=1")
    >>> model = SGD(rank=4, iterations=3).fit(ratings)
    >>> prediction = model.predict(user=3, item=5)
    """

    kind: ClassVar[str] = "sgd"
    biases = True

    def __init__(
        self,
        rank: int = 100,
        regularization: float = 0.05,
        iterations: int = 30,
        *,
        learning_rate: float = 0.01,
        init_scale: float = 0.1,
        seed: int | None = None,
        rng: RNG = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, seed_from(seed, rng), dtype)
        require_number("learning_rate", learning_rate, positive=True)
        require_number("init_scale", init_scale, positive=True)
        self.learning_rate, self.init_scale = learning_rate, init_scale

    def _fit(
        self, matrix: sparse.csr_array, run: FitRecorder, warm: Start | None, weights: Array | None = None
    ) -> None:
        mean = float(matrix.data.mean())
        values = (matrix.data - mean).astype(self.dtype)
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
        generator = np.random.default_rng(self.seed)
        users, items = (self._start(generator, count) for count in matrix.shape)
        if warm is not None:
            warm.put_into(users, items, self.rank)
        state = run.arrays(users=users, items=items)
        users, items = state["users"], state["items"]
        run.go_on(partial(set_generator, generator))
        # rows that no rating has touched hold only their random start
        rated = np.diff(matrix.indptr) > 0, np.bincount(matrix.indices, minlength=len(items)) > 0

        def publish() -> None:
            known = pattern(matrix.shape, matrix.indptr, matrix.indices)
            self._adopt(users * rated[0][:, None], items * rated[1][:, None], mean, known, run.entries)

        for _ in run.left(self.iterations):
            order = generator.permutation(matrix.nnz)
            loss = squared_loss_epoch(
                order, rows, matrix.indices, values, users, items, self.learning_rate, self.regularization
            )
            place = generator.bit_generator.state
            run.note(loss, {"users": users, "items": items}, publish, generator=place)
        publish()

    def _learn(self, batch: Batch, generator: np.random.Generator) -> float:
        sides = []
        for factors, biases, ids in (
            (self.user_factors_, self.user_biases_, batch.user_ids),
            (self.item_factors_, self.item_biases_, batch.item_ids),
        ):
            own = np.zeros(len(factors), self.dtype) if biases is None else biases
            sides.append(with_new_rows(np.column_stack((factors, own)), self._start(generator, len(ids))))
        matrix = batch.matrix
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
        values = (matrix.data - self.global_mean_).astype(self.dtype)
        order = generator.permutation(matrix.nnz)
        loss = squared_loss_epoch(
            order, rows, matrix.indices.astype(np.int32), values, *sides, self.learning_rate, self.regularization
        )
        self._adopt(sides[0], sides[1], self.global_mean_, batch.seen, self.history_)
        return float(loss)

    def _start(self, generator: np.random.Generator, count: int) -> Floats:
        side = np.zeros((count, self.rank + 1), self.dtype)
        side[:, : self.rank] = generator.standard_normal((count, self.rank)) * self.init_scale
        return side

    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        return np.asarray(np.maximum(lengths, 1.0), dtype=np.float64)
