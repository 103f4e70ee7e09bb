"""Comparisons of methods as they are printed: table, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any, TypedDict

import click

from coded_als.experiments.text_tables import as_text


class ComparisonRow(TypedDict):
    """What one method came to."""

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


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _heads(cutoff: int) -> list[str]:
    listed = {
        "hit_rate": f"HR@{cutoff}",
        "ndcg": f"NDCG@{cutoff}",
        "recall": f"recall@{cutoff}",
        "map": f"MAP@{cutoff}",
    }
    return [listed.get(name, name) for name in ComparisonRow.__annotations__]


def _print_table(rows: list[ComparisonRow], cutoff: int) -> None:
    click.echo(as_text(_heads(cutoff), [list(map(_cell, row.values())) for row in rows], first_left=True))


def _print_markdown(rows: list[ComparisonRow], cutoff: int) -> None:
    click.echo("| " + " | ".join(_heads(cutoff)) + " |")
    click.echo("|---" * len(_heads(cutoff)) + "|")
    for row in rows:
        click.echo("| " + " | ".join(map(_cell, row.values())) + " |")


def _print_csv(rows: list[ComparisonRow], _cutoff: int) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ComparisonRow.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    click.echo(text.getvalue(), nl=False)


WRITERS: dict[str, Callable[[list[ComparisonRow], int], None]] = {
    "table": _print_table,
    "markdown": _print_markdown,
    "csv": _print_csv,
}
