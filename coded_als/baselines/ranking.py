"""Common base of the models trained to rank a user's chosen items before the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.batches import Batch, LearnsInBatches, with_new_rows
from coded_als.baselines.loops import bpr_epoch, warp_epoch
from coded_als.baselines.model import Entries
from coded_als.checks import RNG, require_number, require_whole, seed_from
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import pattern
from coded_als.models.recommending import NewRatings, NewUsers
from coded_als.models.starting import Start
from coded_als.models.training import FitRecorder, set_generator


@dataclass(frozen=True, eq=False)
class Steps:
    """Where stochastic steps have come to; they work in place."""

    # (m, d) and (n, d + 1), the bias last
    users: Floats
    items: Floats
    # adagrad's, (m,) and (n,)
    user_squares: Floats
    item_squares: Floats
    sampler: NDArray[np.uint64]  # (1,) the state of the generator of samples

    @classmethod
    def first(cls, users: Floats, items: Floats, generator: np.random.Generator) -> Steps:
        """Those of a start, before any."""
        squares = np.ones(len(users), users.dtype), np.ones(len(items), items.dtype)
        return cls(users, items, *squares, generator.integers(2**63, size=1, dtype=np.uint64))


class RankingModel(LearnsInBatches):
    """Scores ``item bias + u . v``, learned from pairs of an observed item and a sampled other one.

    The stored values do not matter, only where they are. Steps are Adagrad's, with one accumulator per row.
    """

    _fold_methods = ("sgd",)

    def __init__(
        self,
        rank: int,
        regularization: float,
        iterations: int,
        learning_rate: float,
        seed: int,
        dtype: str,
    ) -> None:
        super().__init__(rank, regularization, iterations, seed, dtype)
        require_number("learning_rate", learning_rate, positive=True)
        self.learning_rate = self._fold_rate = learning_rate

    @abstractmethod
    def _loss_of_nothing(self, items: int) -> float:
        """The most that the mean loss is while all scores are equal."""

    @abstractmethod
    def _epoch(self, arguments: tuple[Any, ...]) -> float:
        """One pass; the arguments that both losses share."""

    def _fit(
        self, matrix: sparse.csr_array, run: FitRecorder, warm: Start | None, weights: Array | None = None
    ) -> None:
        entries = Entries(matrix.indptr, matrix.indices, matrix.data)
        generator = np.random.default_rng(self.seed)
        users = self._random(generator, matrix.shape[0])
        items = np.column_stack((self._random(generator, matrix.shape[1]), np.zeros(matrix.shape[1], self.dtype)))
        if warm is not None:
            warm.put_into(users, items, self.rank)
        steps = Steps.first(users, items, generator)
        steps = Steps(**run.arrays(**vars(steps)))
        run.go_on(partial(set_generator, generator))
        publish = partial(self._publish, steps, matrix, run)
        passes = self._passes(entries, steps, self.learning_rate, generator, frozen=False)
        for _, loss in zip(run.left(self.iterations), passes, strict=False):
            run.note(loss, vars(steps), publish, generator=generator.bit_generator.state)
        publish()

    def _learn(self, batch: Batch, generator: np.random.Generator) -> float:
        users = with_new_rows(self.user_factors_, self._random(generator, len(batch.user_ids)))
        items = with_new_rows(self.item_factors_, self._random(generator, len(batch.item_ids)))
        biases = np.zeros(len(items), self.dtype)
        if self.item_biases_ is not None:
            biases[: len(self.item_biases_)] = self.item_biases_
        steps = Steps.first(users, np.column_stack((items, biases)), generator)
        seen = batch.seen
        rows = np.repeat(np.arange(seen.shape[0], dtype=np.int32), np.diff(seen.indptr))
        order = generator.permutation(batch.order)
        # of the types that the loops are compiled for
        columns_of, ends = seen.indices.astype(np.int32), seen.indptr.astype(np.int64)
        common = (order, rows, ends, columns_of, steps.users, steps.items)
        squares = steps.user_squares, steps.item_squares
        loss = self._epoch((*common, squares, self.learning_rate, self.regularization, False, steps.sampler))
        self._require_finite(steps.users, steps.items, np.array(loss))
        self._keep(steps.users, steps.items[:, :-1].copy(), item_biases=steps.items[:, -1].copy(), seen=seen)
        return loss / order.size

    def _publish(self, steps: Steps, matrix: sparse.csr_array, run: FitRecorder) -> None:
        """Take over where stochastic steps have come to."""
        items, last = steps.items, run.entries[-1].objective
        # steps that are too long leave numbers that are finite and mean nothing
        sound = last <= 2 * self._loss_of_nothing(len(items))
        self._require_finite(steps.users, items, np.array(last if sound else np.inf))
        self.history_ = run.entries
        self._keep(
            steps.users * (np.diff(matrix.indptr) > 0)[:, None],
            items[:, :-1].copy(),
            item_biases=items[:, -1].copy(),
            seen=pattern(matrix.shape, matrix.indptr, matrix.indices),
        )

    def _passes(
        self,
        matrix: Entries,
        steps: Steps,
        rate: float,
        generator: np.random.Generator,
        *,
        frozen: bool,
    ) -> Iterator[float]:
        """Go over the entries again and again, in place, and yield the mean loss of each pass."""
        rows = np.repeat(np.arange(matrix.count, dtype=np.int32), np.diff(matrix.indptr))
        while True:
            order = generator.permutation(matrix.indices.size)
            common = (order, rows, matrix.indptr, matrix.indices, steps.users, steps.items)
            squares = steps.user_squares, steps.item_squares
            loss = self._epoch((*common, squares, rate, self.regularization, frozen, steps.sampler))
            # new users may all be without entries
            yield loss / max(1, matrix.indices.size)

    def _random(self, generator: np.random.Generator, count: int) -> Floats:
        return ((generator.random((count, self.rank)) - 0.5) / self.rank).astype(self.dtype)

    def _fold_turned(self, ratings: NewRatings) -> NewUsers:
        raise UsageError(
            f"new items have no closed form in {type(self).__name__}, which learns from pairs of items. "
            "Fit again with start=model."
        )

    def _fold_rows(self, ratings: Entries, method: str, epochs: int, learning_rate: float) -> NewUsers:
        users = np.zeros((ratings.count, self.rank), self.dtype)
        biases = np.zeros(len(self.item_factors_)) if self.item_biases_ is None else self.item_biases_
        items = np.column_stack((self.item_factors_, biases)).astype(self.dtype)
        generator = np.random.default_rng(self.seed)
        steps = Steps.first(users, items, generator)
        for _ in islice(self._passes(ratings, steps, learning_rate, generator, frozen=True), epochs):
            pass
        return NewUsers(users)


class BPR(RankingModel):
    """Bayesian personalised ranking (Rendle et al. 2009): ``-log sigmoid(score of chosen - score of other)``.

    ``history_`` holds the mean of that over each pass, without regularisation.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Weight of the penalty of all parameters, for each step.
    iterations
        Passes over the observed entries.
    learning_rate
        Adagrad's, greater than 0.
    seed
        Seed of the start, the order and the samples; equal seeds give equal models.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    dtype
        Type of all arithmetic, ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import BPR
    >>> clicks = (np.random.default_rng(0).random((40, 30)) < 0.3).astype(float)
    >>> model = BPR(rank=4, iterations=3).fit(clicks)
    >>> ids, scores = model.recommend(7, n=5)
    >>> len(ids)
    5
    """

    kind: ClassVar[str] = "bpr"

    def __init__(
        self,
        rank: int = 64,
        regularization: float = 0.002,
        iterations: int = 30,
        *,
        learning_rate: float = 0.05,
        seed: int | None = None,
        rng: RNG = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, learning_rate, seed_from(seed, rng), dtype)

    def _loss_of_nothing(self, items: int) -> float:
        return float(np.log(2))

    def _epoch(self, arguments: tuple[Any, ...]) -> float:
        return float(bpr_epoch(*arguments))


class WARP(RankingModel):
    """Weighted approximate-rank pairwise loss (Weston, Bengio, Usunier 2011).

    Others are sampled until one scores within 1 of the chosen item; the earlier that is, the worse the chosen
    item's estimated rank and the harder the push. ``history_`` holds the mean weighted hinge loss over each pass.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Weight of the penalty of each step.
    iterations
        Number of passes over the ratings.
    learning_rate
        Length of the first steps; Adagrad shortens them.
    seed
        Seed of the start and of the samples.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    dtype
        Type of all arithmetic, ``"float64"`` or ``"float32"``.
    max_samples
        Samples before an entry is left alone.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import WARP
    >>> clicks = (np.random.default_rng(0).random((40, 30)) < 0.3).astype(float)
    >>> model = WARP(rank=4, iterations=3).fit(clicks)
    >>> ids, scores = model.recommend(7, n=5)
    >>> len(ids)
    5
    """

    kind: ClassVar[str] = "warp"

    def __init__(
        self,
        rank: int = 64,
        regularization: float = 0.002,
        iterations: int = 30,
        *,
        learning_rate: float = 0.05,
        max_samples: int = 20,
        seed: int | None = None,
        rng: RNG = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, learning_rate, seed_from(seed, rng), dtype)
        require_whole("max_samples", max_samples, 1)
        self.max_samples = max_samples

    def _loss_of_nothing(self, items: int) -> float:
        return float(np.log(max(items, 2)))

    def _epoch(self, arguments: tuple[Any, ...]) -> float:
        return float(warp_epoch(*arguments, self.max_samples))
