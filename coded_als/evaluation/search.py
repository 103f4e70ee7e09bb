"""Choices by a validation part of the ratings: parameters of a method, and the iteration at which a fit stops.

Parameters are drawn at random: so many sets, or as many as a budget of seconds allows, by successive halving of iterations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from coded_als.checks import RNG, require_number, require_one_of, require_whole, seed_from
from coded_als.data.ratings import RatingData, from_matrix
from coded_als.data.splits import holdout, share_of_each_user
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.evaluation.rankings import evaluate_ranking, evaluate_ratings
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import as_matrix, rating_matrix
from coded_als.models.registry import is_known, model_class, model_kinds

Metric = Literal["ndcg", "recall", "precision", "hit_rate", "map", "mrr", "coverage", "rmse", "mae"]
# the less, the better
ERRORS: tuple[Metric, ...] = ("rmse", "mae")
LISTS: tuple[Metric, ...] = ("ndcg", "recall", "precision", "hit_rate", "map", "mrr", "coverage")


@dataclass(frozen=True)
class Range:
    """Numbers that a parameter is drawn from."""

    # the least and the largest, both positive; equally likely are those of equal parts of the logarithm
    low: float
    high: float
    whole: bool = False  # whether they are whole numbers

    def draw(self, generator: np.random.Generator) -> float | int:
        """One of them at random."""
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.whole else float(f"{value:.3g}")


# By parameter: numbers, or a few values.
Ranges = Mapping[str, Range | Sequence[Any]]
_RANK = Range(8, 128, whole=True)
# By kind of model: wide enough for ratings of one to five stars and for clicks.
RANGES: dict[str, Ranges] = {
    "coded": {"rank": _RANK, "weighting": ("none", "binary", "centred", "log")},
    "ridge": {"rank": _RANK, "regularization": Range(0.1, 100)},
    "implicit": {"rank": _RANK, "regularization": Range(0.0005, 0.1), "unobserved_weight": Range(0.01, 1)},
    "sharded": {"rank": _RANK, "regularization": Range(0.0005, 0.1), "unobserved_weight": Range(0.01, 1)},
    "sgd": {"rank": _RANK, "regularization": Range(0.005, 0.5), "learning_rate": Range(0.002, 0.05)},
    "bpr": {"rank": _RANK, "regularization": Range(0.0002, 0.05), "learning_rate": Range(0.01, 0.2)},
    "ease": {"regularization": Range(5, 5000)},
    "popularity": {},
    "warp": {"rank": _RANK, "regularization": Range(0.0002, 0.05), "learning_rate": Range(0.01, 0.2)},
}


@dataclass(frozen=True)
class Attempt:
    """Parameters that were tried.

    Examples
    --------
    >>> from coded_als import tune
    >>> from coded_als.data import load_ratings
    >>> found = tune("ease", load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3"), budget=0.1)
    >>> found.candidates[0].failure is None
    True
    """

    parameters: Mapping[str, Any]  # those that were drawn, by name; the first candidate has the method's own
    iterations: int  # of the fit that the figure is of
    figure: float | None  # the metric on the validation part, or None where the fit failed
    seconds: float  # of its fits, and of the evaluations of a search within a time
    failure: str | None = None  # why the fit failed, or None

    def score(self, metric: Metric) -> float:
        """Return the figure of a candidate that was fitted, turned so that more is better."""
        return (-1.0 if metric in ERRORS else 1.0) * float(self.figure or 0.0)


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    metric: Metric  # by which the candidates were compared
    best: Attempt  # the candidate with the best figure; of equal ones the first
    candidates: tuple[Attempt, ...]  # all, in the order in which they were tried


def search(
    model: FactorModel,
    ranges: Ranges,
    train: RatingData,
    *,
    budget: int,
    validation: float = 0.2,
    metric: Metric = "ndcg",
    k: int = 10,
    seed: int = 0,
    tried: Callable[[Attempt], None] | None = None,
) -> SearchResult:
    """Try parameters on a validation part of the training data, the model's own first.

    The search sees nothing but ``train``: a test part plays no role, and methods that are given the same ``train``,
    ``validation`` and ``seed`` are compared on the same validation part.
    """
    require_whole("budget", budget, 1)
    require_one_of("metric", metric, (*LISTS, *ERRORS))
    known = model.get_params()
    require_ranges(ranges, known)
    kept, held_out = holdout(train, validation, seed=seed)
    candidates = []
    for parameters in drawn_from(known, ranges, min(train.shape), budget, np.random.default_rng(seed)):
        candidates.append(_tried(type(model)(**known | parameters), parameters, kept, held_out, metric, k))
        if tried is not None:
            tried(candidates[-1])
    return SearchResult(metric, _best(candidates, metric), tuple(candidates))


def require_ranges(ranges: Ranges, known: Mapping[str, Any]) -> None:
    """`UsageError` unless all ranges are of known parameters."""
    for name in ranges:
        if name not in known:
            raise UsageError(f"ranges must be of parameters, {', '.join(known)}; got {name!r}.")


def drawn_from(
    known: Mapping[str, Any], ranges: Ranges, most: int, budget: int, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The model's own parameters, then others that are drawn from ranges; ranks up to ``most``."""
    yield {name: known[name] for name in ranges}
    for _ in range(budget - 1):
        drawn: dict[str, Any] = {}
        for name, values in ranges.items():
            if isinstance(values, Range):
                drawn[name] = values.draw(generator)
            else:
                drawn[name] = values[int(generator.integers(len(values)))]
        if "rank" in drawn:
            drawn["rank"] = min(drawn["rank"], most)
        yield drawn


def _tried(
    model: Any, parameters: Mapping[str, Any], kept: RatingData, held_out: RatingData, metric: Metric, k: int
) -> Attempt:
    started = time.perf_counter()
    try:
        model.fit(kept)
    except UsageError as error:  # such as a rank above that of the data, or steps that diverge
        return Attempt(parameters, 0, None, time.perf_counter() - started, str(error))
    seconds = time.perf_counter() - started
    return Attempt(parameters, len(model.history_), figure_of(model, held_out, metric, k), seconds)


def figure_of(model: FactorModel, held_out: RatingData, metric: Metric, k: int) -> float:
    """A metric of a fitted model on ratings that it has not seen."""
    scores: Any = evaluate_ratings(model, held_out) if metric in ERRORS else evaluate_ranking(model, held_out, k)
    return float(getattr(scores, metric))


def _best(candidates: Sequence[Attempt], metric: Metric) -> Attempt:
    fitted = [candidate for candidate in candidates if candidate.figure is not None]
    if not fitted:
        raise UsageError(
            f"a search must have a candidate that can be fitted; all fail, the first: {candidates[0].failure}"
        )
    return max(fitted, key=lambda candidate: candidate.score(metric))


class EarlyStopping:
    """End a fit when a metric on a validation part has not become better for some iterations, and keep the best state.

    A callback of ``fit``, for one fit at a time. After the fit the model holds the factors of the best iteration;
    ``history_`` keeps all.

    Parameters
    ----------
    validation
        Ratings that the fit does not see: the result of `coded_als.data.load_ratings` or of a split, or a matrix for a
        model without ids.
    metric
        ``"ndcg"``, ``"recall"``, ``"precision"``, ``"hit_rate"``, ``"map"``, ``"mrr"`` or ``"coverage"`` of the lists, or
        the errors ``"rmse"`` and ``"mae"``.
    k
        Length of the lists.
    patience
        Iterations without a better figure after which the fit ends.

    Attributes
    ----------
    figures
        The metric after each iteration.
    best_iteration
        The iteration of the best figure, from 1; None before the first.
    best
        The best figure.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import RidgeALS
    >>> from coded_als.data import holdout, load_ratings
    >>> train, validation = holdout(load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1"))
    >>> stop = EarlyStopping(validation, metric="rmse", patience=2)
    >>> model = RidgeALS(4, iterations=50, regularization=0.1).fit(train, callback=stop)
    >>> stop.best_iteration == 1 + int(np.argmin(stop.figures))
    True
    """

    def __init__(self, validation: Any, metric: Metric = "ndcg", k: int = 10, patience: int = 3) -> None:
        require_one_of("metric", metric, (*LISTS, *ERRORS))
        require_whole("k", k, 1)
        require_whole("patience", patience, 1)
        if not isinstance(validation, RatingData):
            validation = from_matrix(as_matrix(validation), "the validation part")
        self.validation: RatingData = validation
        self.metric, self.k, self.patience = metric, k, patience
        self._begin()

    def _begin(self) -> None:
        self.figures: list[float] = []
        self.best_iteration: int | None = None
        self._best: tuple[Any, Any] = (None, None)

    def __call__(self, entry: Any, model: FactorModel) -> bool:
        """Whether the fit is to end after this iteration."""
        if entry.index == 1:
            self._begin()
        is_error = self.metric in ERRORS
        self.figures.append(figure_of(model, self.validation, self.metric, self.k))
        # of equal ones the first
        best = int(np.argmin(self.figures) if is_error else np.argmax(self.figures))
        if best == len(self.figures) - 1:
            self.best_iteration, self.best, self._best = entry.index, self.figures[best], model._standing()
        return len(self.figures) - 1 - best >= self.patience

    def conclude(self, model: FactorModel) -> None:
        """Give the model the factors of the best iteration."""
        if self.best_iteration is not None and self.best_iteration < model.history_[-1].index:
            model._return_to(*self._best)
        self._best = (None, None)


# Candidates that begin together, and the part of them that goes on, with that many times the iterations.
TOGETHER, THIRD = 9, 3
# Ratings that are held out: any, a share of each user's, or the latest.
SPLITS = ("random", "user", "time")


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Examples
    --------
    >>> from coded_als import tune
    >>> from coded_als.data import load_ratings
    >>> found = tune("ease", load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3"), budget=0.1)
    >>> sorted(found.parameters) == sorted(found.make_model().get_params())
    True
    """

    method: str
    metric: Metric
    k: int
    parameters: Mapping[str, Any]  # all of the best candidate that ran to the end
    figure: float  # its metric on the validation part
    candidates: tuple[Attempt, ...]  # in the order of their end

    def make_model(self) -> FactorModel:
        """Return an unfitted model with the best parameters."""
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
    split: Literal["random", "user", "time"] = "random",
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
        Ratings in any form that ``fit`` takes: the result of `coded_als.data.load_ratings`, a table, or a matrix.
    columns
        Names of the columns of a table: users, items and perhaps ratings.
    budget
        Seconds. The fit with the method's own parameters runs to its end, however long that takes.
    metric
        ``"ndcg"``, ``"recall"``, ... of the lists, or the errors ``"rmse"`` and ``"mae"``.
    k
        Length of the lists.
    validation
        Part of the ratings that candidates are compared on.
    split
        ``"random"`` ratings are held out, that share of each user's (``"user"``), or the latest (``"time"``).
    ranges
        Values to search, by parameter: `coded_als.evaluation.search.Range` or a few values; by default the usual ranges.
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
        raise UsageError(f"method must be one of {', '.join(model_kinds())}; got {method!r}.")
    require_number("budget", budget, positive=True)
    require_one_of("metric", metric, (*LISTS, *ERRORS))
    require_one_of("split", split, SPLITS)
    data, seed = _data(ratings, columns), seed_from(seed, rng)
    kept, held_out = parted(data, validation, split, seed)
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


def parted(data: RatingData, fraction: float, split: str, seed: int) -> tuple[RatingData, RatingData]:
    """The ratings that candidates are fitted to, and those that they are compared on."""
    if split == "time":
        return latest_out(data, fraction)
    return share_of_each_user(data, fraction, seed) if split == "user" else holdout(data, fraction, seed=seed)


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
        self,
        method: str,
        known: Mapping[str, Any],
        kept: RatingData,
        held_out: RatingData,
        metric: Metric,
        k: int,
        deadline: float,
        tried: Callable[[Attempt], None] | None,
    ) -> None:
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
            raise UsageError(
                f"{self._class.kind} does not fit with its own parameters: {first.failure if first else 'no result'}"
            )
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
