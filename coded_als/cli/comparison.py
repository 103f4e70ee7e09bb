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


def _cells(row: ComparisonRow, tuned: bool) -> list[str]:
    return [_cell(dict(row)[name]) for name in _columns(tuned)]


def _heads(cutoff: int, tuned: bool) -> list[str]:
    listed = {
        "hit_rate": f"HR@{cutoff}",
        "ndcg": f"NDCG@{cutoff}",
        "recall": f"recall@{cutoff}",
        "map": f"MAP@{cutoff}",
        "validation_ndcg": f"validation NDCG@{cutoff}",
    }
    return [listed.get(name, name) for name in _columns(tuned)]


def _print_table(rows: list[ComparisonRow], cutoff: int, tuned: bool) -> None:
    click.echo(as_text(_heads(cutoff, tuned), [_cells(row, tuned) for row in rows], first_left=True))


def _print_markdown(rows: list[ComparisonRow], cutoff: int, tuned: bool) -> None:
    heads = _heads(cutoff, tuned)
    click.echo("| " + " | ".join(heads) + " |")
    click.echo("|---" * len(heads) + "|")
    for row in rows:
        click.echo("| " + " | ".join(_cells(row, tuned)) + " |")


def _print_csv(rows: list[ComparisonRow], _cutoff: int, tuned: bool) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(tuned), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(dict(row) | {"parameters": _cell(row["parameters"])})
    click.echo(text.getvalue(), nl=False)


WRITERS: dict[str, Callable[[list[ComparisonRow], int, bool], None]] = {
    "table": _print_table,
    "markdown": _print_markdown,
    "csv": _print_csv,
}
