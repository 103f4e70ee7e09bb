"""``coded-als export``: the vectors of a saved model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.help import CommandWithExamples
from coded_als.models.persistence import load_model
from coded_als.models.vectors import export_vectors


@click.command(
    "export", cls=CommandWithExamples,
    examples=(
        "coded-als export model.npz --out items.parquet",
        "coded-als export model.npz --side users --out users.npz",
    ),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File to write; ends in .npz, .parquet or .faiss."
)
@click.option(
    "--side", type=click.Choice(["items", "users"]), default="items", show_default=True, help="Vectors to write."
)
@click.option(
    "--metric",
    type=click.Choice(["inner", "cosine"]),
    default="inner",
    show_default=True,
    help="Order that products of the vectors have: that of recommendations, or of similar items.",
)
def command(model: Path, out: Path, side: Any, metric: Any) -> None:
    """Write vectors of the saved MODEL, for an index of nearest neighbours.

    A bias of items is one more column, and users have a 1 there: inner products order items as the model does.
    """
    fitted = load_model(model)
    export_vectors(fitted, out, side, metric)
    count = len(fitted.item_ids if side == "items" else fitted.user_ids)
    click.echo(f"saved {out}: vectors of {count} {side}")
