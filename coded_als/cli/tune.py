"""``coded-als tune``: the parameters of methods, searched within a time."""

from __future__ import annotations

from typing import Any

import click

from coded_als.cli.common import TIME, choice, print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.methods import PREDICTS_RATINGS, listed_methods, make_model
from coded_als.cli.reading import ReadingOptions, read_document, reads_ratings, tell_reading
from coded_als.data import load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation.search import ERRORS, LISTS, SPLITS, Attempt, Tuned, tune
from coded_als.experiments.text_tables import as_text

# Options of `fit` of their own; the others are given by --set.
_OPTIONS = ("rank", "regularization", "iterations", "weighting")
_SHOWN = 10


@click.command(
    "tune", cls=CommandWithExamples,
    examples=(
        "coded-als tune ratings.tsv --methods implicit,bpr --budget 60s",
        "coded-als tune ratings.tsv --methods ridge --metric rmse --split time",
    ),
)  # fmt: skip
@click.argument("ratings")
@click.option("--methods", default="implicit", show_default=True, help="Names of the methods, separated by commas.")
@click.option("--budget", type=TIME, default="60s", show_default=True, help="Time for each method.")
@choice("--metric", [*LISTS, *ERRORS], "ndcg", help="Figure of the validation part to compare by.")
@click.option(
    "-k", "--cutoff", type=click.IntRange(1), default=10, show_default=True, help="Length of the recommended lists."
)
@click.option(
    "--validation", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.2, show_default=True,
    help="Share of the ratings to compare on.",
)  # fmt: skip
@choice("--split", SPLITS, "random", help="Hold out random ratings, a share of each user's, or the latest.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the split and the draws.")
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    ratings: str,
    methods: str,
    budget: float,
    metric: Any,
    cutoff: int,
    validation: float,
    split: Any,
    seed: int,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Search the parameters of methods, and print the command of the best.

    Nine random candidates begin together, the best three go on, then the best one; then nine others begin.
    """
    names = listed_methods(methods)
    for name in names:
        make_model(name, {"seed": seed}).require_installed()
        if metric in ERRORS and name not in PREDICTS_RATINGS:
            raise UsageError(f"--metric {metric} needs a method that predicts ratings; got {name}. Use --metric ndcg.")
    data = load_ratings(ratings, **reading)
    found: list[Tuned] = []
    with progress("tuning") as line:

        def tried(candidate: Attempt) -> None:
            figure = "failed" if candidate.figure is None else f"{candidate.figure:.4f}"
            line.say(f"{name}: {metric} {figure}")

        for name in names:
            given = {"budget": budget, "metric": metric, "k": cutoff, "validation": validation, "split": split}
            found.append(tune(name, data, seed=seed, tried=tried, **given))
    best = (min if metric in ERRORS else max)(found, key=lambda one: one.figure)
    if as_json:
        print_json({**_document(best, ratings), "methods": [_document(one, ratings) for one in found],
                    "read": read_document(data)})  # fmt: skip
        return
    tell_reading(data)
    for one in found:
        click.echo(_table(one))
        click.echo("")
    click.echo(f"best: {metric} {best.figure:.4f} on the validation part, by\n  {command_of(best, ratings)}")


def command_of(tuned: Tuned, ratings: str) -> str:
    """The command that fits the best parameters to all ratings."""
    own = make_model(tuned.method, {}).get_params()
    words = ["coded-als fit", ratings, "--method", tuned.method]
    for name, value in tuned.parameters.items():
        if value is None or value == own.get(name):
            continue
        words += [f"--{name}", f"{value}"] if name in (*_OPTIONS, "seed") else ["--set", f"{name}={value}"]
    return " ".join([*words, "--out", "model.npz"])


def _document(tuned: Tuned, ratings: str) -> dict[str, Any]:
    return {
        "method": tuned.method,
        "metric": tuned.metric,
        "k": tuned.k,
        "figure": tuned.figure,
        "parameters": dict(tuned.parameters),
        "candidates": len(tuned.candidates),
        "command": command_of(tuned, ratings),
    }


def _table(tuned: Tuned) -> str:
    """The best candidates that were tried, the best first."""
    ended = [one for one in tuned.candidates if one.figure is not None]
    ended.sort(key=lambda one: (-one.iterations, -one.score(tuned.metric)))
    heads = ["method", "parameters", "iterations", tuned.metric, "seconds"]
    rows = [
        [
            tuned.method,
            " ".join(f"{name}={value}" for name, value in one.parameters.items()) or "-",
            str(one.iterations or "-"),
            f"{one.figure:.4f}",
            f"{one.seconds:.2f}",
        ]
        for one in ended[:_SHOWN]
    ]
    return as_text(heads, rows, first_left=True)
