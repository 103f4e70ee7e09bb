"""Choices by a validation part of the ratings: a small random search of parameters, and the iteration at which a fit stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from coded_als.checks import require_one_of, require_whole
from coded_als.data.ratings import RatingData, from_matrix
from coded_als.data.splits import holdout
from coded_als.errors import UsageError
from coded_als.evaluation.rankings import evaluate_ranking, evaluate_ratings
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import as_matrix

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
    """Parameters that were tried."""

    parameters: Mapping[str, Any]  # those that were drawn, by name; the first candidate has the method's own
    iterations: int  # of the fit that the figure is of
    figure: float | None  # the metric on the validation part, or None where the fit failed
    seconds: float  # of its fits, and of the evaluations of a search within a time
    failure: str | None = None  # why the fit failed, or None

    def score(self, metric: Metric) -> float:
        """The figure of a candidate that was fitted, turned so that more is better."""
        return (-1.0 if metric in ERRORS else 1.0) * float(self.figure or 0.0)


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    metric: Metric  # by which the candidates were compared
    best: Attempt  # the candidate with the best figure; of equal ones the first
    candidates: tuple[Attempt, ...]  # all, in the order in which they were tried


def search(
    model: FactorModel, ranges: Ranges, train: RatingData, *, budget: int, validation: float = 0.2,
    metric: Metric = "ndcg", k: int = 10, seed: int = 0, tried: Callable[[Attempt], None] | None = None,
) -> SearchResult:  # fmt: skip
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
