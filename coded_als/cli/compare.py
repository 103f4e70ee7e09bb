"""``coded-als compare``: several methods on the same split of the same ratings."""

from __future__ import annotations

import time
from typing import Any

import click

from coded_als.cli.common import print_json, progress
from coded_als.cli.comparison import WRITERS, ComparisonRow
from coded_als.cli.methods import PREDICTS_RATINGS, make_model
from coded_als.cli.reading import read_document, reads_ratings, tell_reading
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation import evaluate_ranking, evaluate_ratings
from coded_als.models.factor_model import FactorModel
from coded_als.models.registry import MODEL_HOMES

# `sharded` is `implicit` on other hardware
BY_DEFAULT = [name for name in MODEL_HOMES if name != "sharded"]


@click.command("compare")
@click.argument("ratings")
@click.option("--methods", help="Separated by commas.  [default: all that are installed]")
@click.option("--rank", type=int, help="Of every method.  [default: each method's own]")
@click.option("--test-fraction", default=0.2, show_default=True, help="Part of the ratings held out.")
@click.option("-k", "--cutoff", default=10, show_default=True, help="Length of the recommended lists.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the split and the fits.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown", "csv", "json"]),
    default="table",
    show_default=True,
    help="How the figures are printed.",
)
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    ratings: str,
    methods: str | None,
    rank: int | None,
    test_fraction: float,
    cutoff: int,
    seed: int,
    style: str,
    reading: dict[str, Any],
    as_json: bool,
) -> None:
    """Fit several methods on one split of RATINGS and compare quality, iterations and seconds.

    RMSE and MAE are given where a method predicts ratings; the lists of all methods are ranked over the whole
    catalogue, without what the user rated in training. Seconds are wall seconds in this process.
    """
    names = BY_DEFAULT if methods is None else [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--methods must name at least one of {', '.join(MODEL_HOMES)}; got none. Add one.")
    models = {name: make_model(name, {"rank": rank, "seed": seed}) for name in names}
    if methods is None:
        models = _without_the_missing(models)
    data = load_ratings(ratings, **reading)
    train, test = holdout(data, test_fraction, seed=seed)
    rows: list[ComparisonRow] = []
    with progress("reading") as line:
        for name, model in models.items():
            line.say(f"fitting {name}")
            rows.append(_measured(name, model, train, test, cutoff))
    if as_json or style == "json":
        print_json({"ratings": ratings, "cutoff": cutoff, "seed": seed, "methods": rows, "read": read_document(data)})
    else:
        tell_reading(data)
        WRITERS[style](rows, cutoff)


def _without_the_missing(models: dict[str, FactorModel]) -> dict[str, FactorModel]:
    """The models that can be fitted here; a note on stderr says what the others need."""
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


def _measured(name: str, model: Any, train: RatingData, test: RatingData, cutoff: int) -> ComparisonRow:
    started = time.perf_counter()
    model.fit(train.matrix)
    seconds = time.perf_counter() - started
    model.set_ids(train.user_ids, train.item_ids)
    ranking = evaluate_ranking(model, test, cutoff)
    errors = evaluate_ratings(model, test) if name in PREDICTS_RATINGS else None
    return {
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
    }
