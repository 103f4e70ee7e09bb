"""A small random search of a method's parameters on a validation part of its training data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from coded_als.checks import require_one_of, require_whole
from coded_als.data.ratings import RatingData
from coded_als.data.splits import holdout
from coded_als.errors import UsageError
from coded_als.evaluation.rankings import evaluate_ranking, evaluate_ratings
from coded_als.models.factor_model import FactorModel

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
    "warp": {"rank": _RANK, "regularization": Range(0.0002, 0.05), "learning_rate": Range(0.01, 0.2)},
}


@dataclass(frozen=True)
class Trial:
    """Parameters that were tried."""

    parameters: Mapping[str, Any]  # those that were drawn, by name; the first candidate has the model's own
    figure: float | None  # the metric on the validation part, or None where the fit failed
    seconds: float  # of the fit
    failure: str | None = None  # why the fit failed, or None


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    metric: Metric  # by which the candidates were compared
    best: Trial  # the candidate with the best figure; of equal ones the first
    candidates: tuple[Trial, ...]  # all, in the order in which they were tried


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
    tried: Callable[[Trial], None] | None = None,
) -> SearchResult:
    """Try parameters on a validation part of the training data, the model's own first.

    The search sees nothing but ``train``: a test part plays no role, and methods that are given the same ``train``,
    ``validation`` and ``seed`` are compared on the same validation part.

    Raises UsageError for an unknown metric or parameter, a budget below 1, a part that cannot be held out, and
    where every candidate fails, with the reason of the first.
    """
    require_whole("budget", budget, 1)
    require_one_of("metric", metric, (*LISTS, *ERRORS))
    known = model.get_params()
    for name in ranges:
        if name not in known:
            raise UsageError(f"ranges must be of parameters, {', '.join(known)}; got {name!r}.")
    kept, held_out = holdout(train, validation, seed=seed)
    candidates = []
    for parameters in _drawn(known, ranges, min(train.shape), budget, np.random.default_rng(seed)):
        candidates.append(_tried(type(model)(**known | parameters), parameters, kept, held_out, metric, k))
        if tried is not None:
            tried(candidates[-1])
    return SearchResult(metric, _best(candidates, metric), tuple(candidates))


def _drawn(
    known: Mapping[str, Any], ranges: Ranges, most: int, budget: int, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
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
) -> Trial:
    started = time.perf_counter()
    try:
        model.fit(kept)
    except UsageError as error:  # such as a rank above that of the data, or steps that diverge
        return Trial(parameters, None, time.perf_counter() - started, str(error))
    seconds = time.perf_counter() - started
    scores: Any = evaluate_ratings(model, held_out) if metric in ERRORS else evaluate_ranking(model, held_out, k)
    return Trial(parameters, float(getattr(scores, metric)), seconds)


def _best(candidates: Sequence[Trial], metric: Metric) -> Trial:
    sign = -1.0 if metric in ERRORS else 1.0
    fitted = [candidate for candidate in candidates if candidate.figure is not None]
    if not fitted:
        raise UsageError(
            f"a search must have a candidate that can be fitted; all fail, the first: {candidates[0].failure}"
        )
    return max(fitted, key=lambda candidate: sign * (candidate.figure or 0.0))
