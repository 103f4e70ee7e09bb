"""``coded-als compare``: several methods on the same split of the same ratings."""

from __future__ import annotations

import itertools
import time
from contextlib import nullcontext
from typing import Any, TypedDict

import click

from coded_als.cli.clusters import ClusterOptions, cluster_of, require_cluster, takes_remote_workers
from coded_als.cli.common import Progress, choice, picked, print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.methods import PREDICTS_RATINGS, listed_methods, make_model
from coded_als.cli.reading import ReadingOptions, read_document, reads_ratings, tell_reading
from coded_als.cluster import Cluster
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation import RankingScores, evaluate_ranking, evaluate_ratings
from coded_als.evaluation.search import RANGES, Attempt, search
from coded_als.experiments.text_tables import as_csv, as_text
from coded_als.models.factor_model import FactorModel
from coded_als.models.registry import model_kinds


class ComparisonRow(TypedDict):
    """Results of one method."""

    method: str
    rmse: float | None
    mae: float | None
    hit_rate: float
    ndcg: float
    recall: float
    map: float
    coverage: float
    iterations: int
    seconds: float
    validation_ndcg: float | None
    parameters: dict[str, Any] | None


# columns that only a comparison of tuned methods has
_OF_TUNING = ("validation_ndcg", "parameters")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items())
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _columns(tuned: bool) -> list[str]:
    return [name for name in ComparisonRow.__annotations__ if tuned or name not in _OF_TUNING]


def _heads(cutoff: int, tuned: bool) -> list[str]:
    cut = {"hit_rate": "HR", "ndcg": "NDCG", "recall": "recall", "map": "MAP", "validation_ndcg": "validation NDCG"}
    return [f"{cut[name]}@{cutoff}" if name in cut else name for name in _columns(tuned)]


def written(rows: list[ComparisonRow], style: str, cutoff: int, tuned: bool) -> str:
    """The rows as a table for the terminal, in Markdown or comma-separated."""
    if style == "csv":
        return as_csv(_columns(tuned), [dict(row) | {"parameters": _cell(row["parameters"])} for row in rows]).rstrip()
    body = [[_cell(dict(row)[name]) for name in _columns(tuned)] for row in rows]
    return as_text(_heads(cutoff, tuned), body, first_left=True, markdown=style == "markdown")


# methods that workers elsewhere can fit
ON_WORKERS = ("coded", "ridge", "implicit")
# `sharded` is `implicit` on other hardware
BY_DEFAULT = [name for name in model_kinds() if name != "sharded"]


@click.command(
    "compare", cls=CommandWithExamples,
    examples=(
        "coded-als compare ratings.tsv --methods ridge,implicit",
        "coded-als compare ratings.tsv --tune 10 --format markdown",
    ),
)  # fmt: skip
@click.argument("ratings")
@click.option("--methods", help="Methods, separated by commas.  [default: all that are installed]", metavar="NAMES")
@click.option("--rank", type=int, help="Rank of every model.  [default: each method's own]")
@click.option("--test-fraction", default=0.2, show_default=True, help="Part of the ratings held out.")
@click.option(
    "-k", "--cutoff", type=click.IntRange(1), default=10, show_default=True, help="Length of the recommended lists."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the split and the fits.")
@choice("--format", ["table", "markdown", "csv"], "table", name="style", help="Format of the output.")
@click.option(
    "--tune",
    type=click.IntRange(1),
    help="Try N sets of parameters for each method on a fifth of the training ratings, its defaults first, and take the "
    "best by NDCG.  [default: each method's defaults]",
    metavar="N",
)
@click.option("--workers", default=16, show_default=True, help="Number of workers of --listen or --scheduler.")
@takes_remote_workers
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(
    context: click.Context,
    /,
    ratings: str,
    methods: str | None,
    rank: int | None,
    test_fraction: float,
    cutoff: int,
    seed: int,
    style: str,
    tune: int | None,
    reading: ReadingOptions,
    as_json: bool,
    **remote: Any,
) -> None:
    """Fit several methods on one split of RATINGS and compare quality, iterations and seconds.

    RMSE and MAE are given where a method predicts ratings; the lists of all methods are ranked over the whole
    catalogue, without the items that the user rated in training, for users with ratings in training; items that score
    the same count by chance. Seconds are wall seconds of the last fit in this process.

    Without --tune every method runs at its defaults, which suit some ratings better than others. With it the same number
    of candidates is fitted for each, and the test part plays no role in the choice.

    With --listen or --scheduler the workers there fit coded, ridge (without biases) and implicit; all others, and
    candidates of --tune, are fitted in this process.
    """
    own = {"cluster_kind": "local", "delays": "none", "seed": seed, "round_timeout_s": None}
    machines = picked(ClusterOptions, {**remote, **own})
    require_cluster(context, machines)
    names = BY_DEFAULT if methods is None else listed_methods(methods)
    # a closed form has no rank
    models = {
        name: make_model(name, {"rank": rank if "rank" in RANGES.get(name, {}) else None, "seed": seed})
        for name in names
    }
    if methods is None:
        models = _without_the_missing(models)
    data = load_ratings(ratings, **reading)
    train, test = holdout(data, test_fraction, seed=seed)
    measured: list[tuple[ComparisonRow, RankingScores]] = []
    elsewhere = machines.listen is not None or machines.scheduler is not None
    opened = cluster_of(machines) if elsewhere else nullcontext(None)
    with progress("reading") as line, opened as cluster:
        for name, model in models.items():
            best = None
            if tune is not None:
                model, best = _tuned(name, model, train, tune, rank, cutoff, seed, line)
            line.say(f"fitting {name}")
            measured.append(_measured(name, model, best, train, test, cutoff, cluster))
    rows, scores = [row for row, _ in measured], measured[0][1]
    counts = {"users": scores.users, "users_without_training": scores.users_without_training}
    if as_json or style == "json":
        print_json(
            {
                "ratings": ratings,
                "cutoff": cutoff,
                "seed": seed,
                "tune": tune,
                **counts,
                "methods": rows,
                "read": read_document(data),
            }
        )
        return
    tell_reading(data)
    click.echo(written(rows, style, cutoff, tune is not None))
    # a line below would be one of the CSV
    click.echo(f"\n{_tuning_note(tune, cutoff)}\n{_users_note(scores)}", err=style == "csv")


def _tuning_note(tune: int | None, cutoff: int) -> str:
    if tune is None:
        return "Every method runs at its defaults. --tune N tries N sets of parameters for each on a part of the training ratings."
    return (
        f"Each method had {tune} candidates, compared by NDCG@{cutoff} on a part of the training ratings (validation). "
        "All other figures are those of the test part, which had no part in the choice."
    )


def _users_note(scores: RankingScores) -> str:
    return (
        f"Lists are those of {scores.users:,} users; {scores.users_without_training:,} others of the test part have no "
        "ratings in training and are left out."
    )


def _tuned(
    name: str,
    model: FactorModel,
    train: RatingData,
    budget: int,
    rank: int | None,
    cutoff: int,
    seed: int,
    line: Progress,
) -> tuple[FactorModel, Attempt]:
    """The model with the best of some parameters, and these."""
    number = itertools.count(2)
    line.say(f"{name}: candidate 1 of {budget}")
    found = search(
        model,
        {parameter: values for parameter, values in RANGES[name].items() if rank is None or parameter != "rank"},
        train,
        budget=budget,
        k=cutoff,
        seed=seed,
        tried=lambda _: line.say(f"{name}: candidate {next(number)} of {budget}"),
    )
    return type(model)(**model.get_params() | dict(found.best.parameters)), found.best


def _without_the_missing(models: dict[str, FactorModel]) -> dict[str, FactorModel]:
    """The models that can be fitted here; a note on stderr names the packages that the others need."""
    missing: dict[str, list[str]] = {}
    for name, model in models.items():
        try:
            model.require_installed()
        except UsageError as error:
            missing.setdefault(str(error), []).append(name)
    for reason, names in missing.items():
        click.echo(f"{', '.join(names)} left out: {reason}", err=True)
    left_out = {name for names in missing.values() for name in names}
    return {name: model for name, model in models.items() if name not in left_out}


def _fit(name: str, model: Any, matrix: Any, cluster: Cluster | None) -> None:
    """Fit a model, on the workers where there are some that know its method."""
    if cluster is None or name not in ON_WORKERS:
        model.fit(matrix)
    elif name == "coded":
        model.fit(matrix, cluster)
    else:
        from coded_als.baselines import fit_on_cluster

        if name == "ridge":
            model.biases = False  # the workers' half-steps know none
        fit_on_cluster(model, matrix, cluster)


def _measured(
    name: str,
    model: Any,
    best: Attempt | None,
    train: RatingData,
    test: RatingData,
    cutoff: int,
    cluster: Cluster | None,
) -> tuple[ComparisonRow, RankingScores]:
    started = time.perf_counter()
    _fit(name, model, train.matrix, cluster)
    seconds = time.perf_counter() - started
    model.set_ids(train.user_ids, train.item_ids)
    ranking = evaluate_ranking(model, test, cutoff)
    errors = evaluate_ratings(model, test) if name in PREDICTS_RATINGS else None
    row: ComparisonRow = {
        "method": name,
        "rmse": errors.rmse if errors else None,
        "mae": errors.mae if errors else None,
        "hit_rate": ranking.hit_rate,
        "ndcg": ranking.ndcg,
        "recall": ranking.recall,
        "map": ranking.map,
        "coverage": ranking.coverage,
        "iterations": len(model.history_),
        "seconds": seconds,
        "validation_ndcg": best.figure if best else None,
        "parameters": dict(best.parameters) if best else None,
    }
    return row, ranking
