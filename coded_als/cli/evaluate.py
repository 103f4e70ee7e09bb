"""``coded-als evaluate``: a saved model against test ratings, or its method on folds of ratings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from coded_als.cli.common import choice, print_json, progress, refuse_typed
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.methods import PREDICTS_RATINGS
from coded_als.cli.reading import ReadingOptions, read_document, reads_ratings, tell_reading
from coded_als.data import RatingData, k_fold, load_ratings
from coded_als.evaluation import evaluate_ranking, evaluate_ratings, evaluate_strong, trained_on
from coded_als.models.factor_model import FactorModel
from coded_als.models.persistence import load_model

Measures = dict[str, dict[str, Any]]


@click.command(
    "evaluate", cls=CommandWithExamples,
    examples=(
        "coded-als evaluate model.npz ml.test.tsv -k 10",
        "coded-als evaluate model.npz ratings.tsv --folds 5",
    ),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("test")
@choice(
    "--protocol", ["weak", "strong"], "weak",
    help="strong: for held-out users, infer factors from three quarters of their ratings and rank the rest.",
)  # fmt: skip
@click.option("-k", "--cutoff", default=10, show_default=True, help="Length of the recommended lists.")
@click.option("--relevant-from", default=float("-inf"), help="Lowest test rating that makes an item relevant.")
@click.option(
    "--folds", type=click.IntRange(2),
    help="Cut TEST into this many folds; fit the model's method to all but one, and measure on that one.",
)  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0),
    help="Seed of the folds, or of the held-out ratings.",
)  # fmt: skip
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    test: str,
    protocol: str,
    cutoff: int,
    relevant_from: float,
    folds: int | None,
    seed: int,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Measure the saved MODEL on the ratings in TEST: errors of predicted ratings, and quality of top lists.

    With --folds the factors in MODEL are not used: its method is fitted anew, in this process, to four of five parts of
    TEST (for --folds 5), and the mean of every measure is given with its spread, the standard deviation over the folds.

    With --protocol strong, on the users in TEST that it was not trained on (fit --hold-out-users 0.1): Recall@20 and
    Recall@50 of a quarter of their ratings, beside those of the most popular items.
    """
    if protocol == "strong":
        refuse_typed(context, {"cutoff", "relevant_from", "folds"}, "belongs to --protocol weak", "strong")
    fitted = load_model(model)
    data = load_ratings(test, **reading)
    document: dict[str, Any] = {"model": str(model), "method": fitted.kind, "protocol": protocol}
    if protocol == "strong":
        document["strong"] = _strong(fitted, data, seed)
    elif folds is not None:
        document |= {"folds": folds, "seed": seed} | _over_folds(fitted, data, cutoff, relevant_from, folds, seed)
    else:
        document["in_training"] = trained_on(fitted, data)
        document |= _measures(fitted, data, cutoff, relevant_from)
        if document["in_training"]:
            click.echo(
                f"{document['in_training']} of the {data.entries} test ratings were in training: errors are too small, "
                "and lists leave those items out. Fit to a part without them (coded-als split).",
                err=True,
            )
    if as_json:
        print_json(document | {"read": read_document(data)})
        return
    tell_reading(data)
    for group in ("ratings", "ranking", "strong"):
        for name, value in document.get(group, {}).items():
            click.echo(f"{name:<23} {_formatted(value)}")


def _strong(model: FactorModel, test: RatingData, seed: int) -> dict[str, Any]:
    scores = evaluate_strong(model, test, seed=seed)
    values: dict[str, Any] = {"users": scores.users}
    values |= {f"recall@{cutoff}": value for cutoff, value in scores.recall.items()}
    return values | {f"popularity@{cutoff}": value for cutoff, value in (scores.popularity or {}).items()}


def _measures(model: FactorModel, test: RatingData, cutoff: int, relevant_from: float) -> Measures:
    measures = {"ranking": asdict(evaluate_ranking(model, test, cutoff, relevant_from=relevant_from))}
    if model.kind in PREDICTS_RATINGS:
        measures["ratings"] = asdict(evaluate_ratings(model, test))
    return measures


def _over_folds(
    model: FactorModel, data: RatingData, cutoff: int, relevant_from: float, folds: int, seed: int
) -> Measures:
    """Mean and spread of every measure."""
    with progress("fitting") as line:
        measured = []
        for number, (train, test) in enumerate(k_fold(data, folds, seed=seed), 1):
            line.say(f"fold {number} of {folds}")
            fresh: Any = type(model)(**model.get_params())
            measured.append(_measures(fresh.fit(train), test, cutoff, relevant_from))
    return {group: dict(_spreads([one[group] for one in measured])) for group in measured[0]}


def _spreads(folds: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name in folds[0]:
        values = [fold[name] for fold in folds]
        if name == "k":
            yield name, values[0]
        else:
            yield name, {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)), "folds": values}


def _formatted(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['mean']:.4f} +- {value['spread']:.4f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
