"""``coded-als recommend``: the best items for a user of a saved model."""

from __future__ import annotations

from pathlib import Path

import click

from coded_als.cli.common import print_json
from coded_als.models.persistence import load_model


@click.command("recommend")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--user", required=True, help="A user's id, as it stood in the ratings.")
@click.option("-n", "--count", default=10, show_default=True, help="How many items.")
@click.option("--exclude", multiple=True, help="Leave out this item (may be repeated).")
@click.option("--include-seen", is_flag=True, help="Recommend also what the user has rated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(model: Path, user: str, count: int, exclude: tuple[str, ...], include_seen: bool, as_json: bool) -> None:
    """The best items for a user of the saved MODEL, best first."""
    fitted = load_model(model)
    ids, scores = fitted.recommend(user, count, filter_seen=not include_seen, exclude=exclude)
    ranked = list(zip(ids.tolist(), scores.tolist(), strict=True))
    if as_json:
        print_json({"user": user, "items": [{"item": item, "score": score} for item, score in ranked]})
        return
    for item, score in ranked:
        click.echo(f"{item}\t{score:.4f}")
