"""A search of a method's parameters within a budget of seconds: random draws, and successive halving by iterations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from coded_als.checks import RNG, require_number, require_one_of, seed_from
from coded_als.data.ratings import RatingData
from coded_als.data.splits import holdout
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.evaluation.search import (
    ERRORS,
    LISTS,
    RANGES,
    Attempt,
    Metric,
    Ranges,
    drawn_from,
    figure_of,
    require_ranges,
)
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import rating_matrix
from coded_als.models.registry import is_known, model_class, model_kinds

# Candidates that begin together, and the part of them that goes on, with that many times the iterations.
TOGETHER, THIRD = 9, 3


@dataclass(frozen=True)
class Tuned:
    """The result of a search."""

    method: str
    metric: Metric
    k: int
    parameters: Mapping[str, Any]  # all of the best candidate that ran to the end
    figure: float  # its metric on the validation part
    candidates: tuple[Attempt, ...]  # in the order of their end

    def make_model(self) -> FactorModel:
        """An unfitted model with the best parameters."""
        return model_class(self.method)(**self.parameters)


def tune(
    method: str,
    ratings: Any,
    *,
    columns: Sequence[Any] | None = None,
    budget: float = 60.0,
    metric: Metric = "ndcg",
    k: int = 10,
    validation: float = 0.2,
    split: Literal["random", "time"] = "random",
    ranges: Ranges | None = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    rng: RNG = None,
    tried: Callable[[Attempt], None] | None = None,
) -> Tuned:
    """Search parameters of a method on a validation part of the ratings, the method's own first.

    Nine random candidates begin together with a ninth of the iterations, the best three go on to a third of them, and the
    best one to all, from where they are. Then nine others begin, until the budget is spent.

    Parameters
    ----------
    method
        ``"implicit"``, ``"bpr"``, ``"ease"``, ..., as for ``coded-als fit --method``.
    ratings
        As for ``fit``: the result of `coded_als.data.load_ratings`, a table, or a matrix.
    columns
        Of a table: the names of the columns of users, items and perhaps ratings.
    budget
        Seconds. The fit with the method's own parameters runs to its end, however long that takes.
    metric
        ``"ndcg"``, ``"recall"``, ... of the lists, or the errors ``"rmse"`` and ``"mae"``.
    k
        Length of the lists.
    validation
        Part of the ratings that candidates are compared on.
    split
        ``"random"`` ratings are held out, or the latest (``"time"``).
    ranges
        What is searched, by parameter: `coded_als.evaluation.search.Range` or a few values; by default the usual ranges.
    parameters
        Parameters that are not searched.
    seed
        Seed of the split and the draws.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    tried
        Called with each `Attempt`.

    Returns
    -------
    Tuned

    Raises
    ------
    UsageError
        For an unknown method, metric or parameter, and where the method's own parameters do not fit.

    Examples
    --------
    >>> from coded_als import tune
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1")
    >>> found = tune("ease", ratings, budget=0.2)
    >>> model = found.make_model().fit(ratings)
    """
    if not is_known(method):
        raise UsageError(f"method must be one of {', '.join(model_kinds())}; got {method!r}. Choose one.")
    require_number("budget", budget, positive=True)
    require_one_of("metric", metric, (*LISTS, *ERRORS))
    require_one_of("split", split, ("random", "time"))
    data, seed = _data(ratings, columns), seed_from(seed, rng)
    kept, held_out = holdout(data, validation, seed=seed) if split == "random" else latest_out(data, validation)
    known = model_class(method)(**dict(parameters or {})).get_params()
    searched = {
        name: values
        for name, values in (RANGES.get(method, {}) if ranges is None else ranges).items()
        if name not in (parameters or {})
    }
    require_ranges(searched, known)
    search = _Search(method, known, kept, held_out, metric, k, time.perf_counter() + budget, tried)
    search.run(searched, min(data.shape), np.random.default_rng(seed))
    best = search.best()
    assert best.figure is not None
    return Tuned(method, metric, k, known | dict(best.parameters), best.figure, tuple(search.candidates))


def latest_out(data: RatingData, fraction: float) -> tuple[RatingData, RatingData]:
    """Move the latest ratings, a share of all, into the test part; of equal times the later in the source."""
    if data.times is None:
        raise UsageError(f"the latest ratings need times; {data.source} has none. Use split='random'.")
    count = round(fraction * data.entries) if 0 < fraction < 1 else 0
    if not 0 < count < data.entries:
        raise UsageError(f"validation must leave ratings in both parts; got {fraction}. Take one nearer to 0.5.")
    positions = np.arange(data.entries) if data.positions is None else data.positions
    late = np.zeros(data.entries, dtype=np.bool_)
    late[np.lexsort((positions, data.times))[data.entries - count :]] = True
    return data.select(~late), data.select(late)


def _data(ratings: Any, columns: Sequence[Any] | None) -> RatingData:
    if isinstance(ratings, RatingData):
        return ratings
    matrix, ids = named_matrix(ratings, columns)
    matrix = rating_matrix(matrix, np.float64)
    users, items = ids or tuple(np.arange(size) for size in matrix.shape)
    return RatingData(matrix, users, items, "the ratings")


class _Search:
    """Candidates of one method on one split."""

    def __init__(
        self, method: str, known: Mapping[str, Any], kept: RatingData, held_out: RatingData, metric: Metric, k: int,
        deadline: float, tried: Callable[[Attempt], None] | None,
    ) -> None:  # fmt: skip
        self._class, self._known, self._kept, self._held_out = model_class(method), dict(known), kept, held_out
        self._metric, self._k, self._deadline, self._tried = metric, k, deadline, tried
        # a coded fit runs to its proof, a closed form has no iterations
        self._full = int(known["iterations"]) if "iterations" in known and method != "coded" else 0
        self.candidates: list[Attempt] = []

    def run(self, searched: Ranges, most: int, generator: np.random.Generator) -> None:
        """Try the method's own parameters, then nine others at a time until the time is over."""
        own = {name: self._known[name] for name in searched}
        first, _ = self._tried_to(Attempt(own, 0, None, 0.0), self._full, None, endless=True)
        if first is None or first.figure is None:
            raise UsageError(f"the method's own parameters must fit; got: {first.failure if first else 'no result'}")
        while searched and not self._over:
            together = drawn_from(self._known, searched, most, TOGETHER + 1, generator)
            next(together)  # the method's own
            self._halve([(Attempt(parameters, 0, None, 0.0), None) for parameters in together])

    @property
    def _over(self) -> bool:
        return time.perf_counter() >= self._deadline

    def _halve(self, running: list[tuple[Attempt, FactorModel | None]]) -> None:
        steps = sorted({math.ceil(self._full / part) for part in (THIRD**2, THIRD, 1)}) if self._full else [0]
        for iterations in steps:
            ended = []
            for candidate, model in running:
                if self._over:
                    return
                found, fitted = self._tried_to(candidate, iterations, model)
                if found is not None and found.figure is not None:
                    ended.append((found, fitted))
            ended.sort(key=lambda pair: -pair[0].score(self._metric))
            running = ended[: max(1, len(ended) // THIRD)]

    def _tried_to(
        self, candidate: Attempt, iterations: int, start: FactorModel | None, *, endless: bool = False
    ) -> tuple[Attempt | None, FactorModel | None]:
        """The candidate after so many iterations in all, and its model; None where the time was over before."""
        started = time.perf_counter()
        given = self._known | dict(candidate.parameters)
        if iterations:
            given["iterations"] = iterations - candidate.iterations
        try:
            model: Any = self._class(**given)
            model.fit(
                self._kept, callback=lambda entry: self._over and not endless, **({"start": start} if start else {})
            )
        except UsageError as error:  # such as a rank above that of the data, or steps that diverge
            found = replace(candidate, failure=str(error), seconds=time.perf_counter() - started)
            return self._noted(found), None
        if iterations and len(model.history_) < given["iterations"]:
            return None, None
        figure = figure_of(model, self._held_out, self._metric, self._k)
        seconds = candidate.seconds + time.perf_counter() - started
        return self._noted(replace(candidate, iterations=iterations, figure=figure, seconds=seconds)), model

    def _noted(self, candidate: Attempt) -> Attempt:
        self.candidates.append(candidate)
        if self._tried is not None:
            self._tried(candidate)
        return candidate

    def best(self) -> Attempt:
        """The best of those that ran to the end; of equal ones the first."""
        ended = [one for one in self.candidates if one.figure is not None and one.iterations == self._full]
        return max(ended, key=lambda one: one.score(self._metric))
