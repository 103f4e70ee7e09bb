"""``coded-als evaluate``: a saved model against test ratings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from coded_als.cli.common import print_json
from coded_als.cli.methods import PREDICTS_RATINGS
from coded_als.data import load_ratings
from coded_als.evaluation import evaluate_ranking, evaluate_ratings
from coded_als.models.persistence import load_model


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("test")
@click.option("-k", "--cutoff", default=10, show_default=True, help="Length of the recommended lists.")
@click.option("--relevant-from", default=float("-inf"), help="Least test rating that makes an item relevant.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(model: Path, test: str, cutoff: int, relevant_from: float, as_json: bool) -> None:
    """Measure the saved MODEL on the ratings in TEST: errors of predicted ratings, and quality of top lists."""
    fitted = load_model(model)
    data = load_ratings(test)
    ranking = asdict(evaluate_ranking(fitted, data, cutoff, relevant_from=relevant_from))
    document = {"model": str(model), "method": fitted.kind, "ranking": ranking}
    if fitted.kind in PREDICTS_RATINGS:
        document["ratings"] = asdict(evaluate_ratings(fitted, data))
    if as_json:
        print_json(document)
        return
    for group in ("ratings", "ranking"):
        for name, value in document.get(group, {}).items():  # type: ignore[attr-defined]
            click.echo(f"{name:<12} {value:.4f}" if isinstance(value, float) else f"{name:<12} {value}")
