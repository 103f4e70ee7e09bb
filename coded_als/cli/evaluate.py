"""``coded-als evaluate``: a saved model against test ratings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from coded_als.cli.common import print_json
from coded_als.cli.methods import PREDICTS_RATINGS
from coded_als.data import RatingData, load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation import evaluate_ranking, evaluate_ratings, evaluate_strong
from coded_als.models.factor_model import FactorModel
from coded_als.models.persistence import load_model


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("test")
@click.option(
    "--protocol",
    type=click.Choice(["weak", "strong"]),
    default="weak",
    show_default=True,
    help="strong: fold in users outside of training by three quarters of their ratings, and find the others.",
)
@click.option("-k", "--cutoff", default=10, show_default=True, help="Length of the recommended lists.")
@click.option("--relevant-from", default=float("-inf"), help="Least test rating that makes an item relevant.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of ratings to find.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    test: str,
    protocol: str,
    cutoff: int,
    relevant_from: float,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the saved MODEL on the ratings in TEST: errors of predicted ratings, and quality of top lists.

    With --protocol strong, on the users in TEST that it was not trained on (fit --hold-out-users 0.1): Recall@20 and
    Recall@50 of a quarter of their ratings, beside those of the most popular items.
    """
    _refuse_foreign_options(context, protocol)
    fitted = load_model(model)
    data = load_ratings(test)
    document: dict[str, Any] = {"model": str(model), "method": fitted.kind, "protocol": protocol}
    if protocol == "strong":
        groups = _strong(fitted, data, seed)
    else:
        groups = {}
        if fitted.kind in PREDICTS_RATINGS:
            groups["ratings"] = asdict(evaluate_ratings(fitted, data))
        groups["ranking"] = asdict(evaluate_ranking(fitted, data, cutoff, relevant_from=relevant_from))
    if as_json:
        print_json(document | groups)
        return
    for values in groups.values():
        for name, value in values.items():
            click.echo(f"{name:<16} {value:.4f}" if isinstance(value, float) else f"{name:<16} {value}")


def _strong(fitted: FactorModel, data: RatingData, seed: int) -> dict[str, dict[str, Any]]:
    scores = evaluate_strong(fitted, data, seed=seed)
    values: dict[str, Any] = {"users": scores.users}
    values |= {f"recall@{cutoff}": value for cutoff, value in scores.recall.items()}
    values |= {f"popularity@{cutoff}": value for cutoff, value in (scores.popularity or {}).items()}
    return {"strong": values}


def _refuse_foreign_options(context: click.Context, protocol: str) -> None:
    """An option that would be ignored is a mistake."""
    belongs = {"cutoff": "weak", "relevant_from": "weak", "seed": "strong"}
    for name, home in belongs.items():
        if home != protocol and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} belongs to --protocol {home}; got it with {protocol}. Remove it.")
