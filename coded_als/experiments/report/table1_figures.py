"""Figures of Table I: published and fitted seconds, decoding errors, and what runs survive."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.slices import Row, Table
from coded_als.experiments.report.styles import BAND, style_of

FAMILIES = (("real", "real (Chebyshev nodes)"), ("equispaced", "real, equispaced"), ("circle", "unit circle"))


def table1_times(rows: Sequence[Row]) -> ReportFigure:
    """The published seconds against h, and the fitted law on the virtual clock.

    Parameters
    ----------
    rows
        Rows of a reproduction of Table I.

    Returns
    -------
    ReportFigure
        Marks are the paper's figures; lines and bands are means and 95 % intervals of the virtual clock.
    """
    figure, axes = new_axes("partitions h", "time of a run (seconds)")
    scale_x(axes, [row["cell"]["partitions"] for row in rows], whole=True)
    scale_y(axes, [value for row in rows for value in (row["paper_seconds"], row["virtual_seconds_mean"])])
    for series, live in enumerate(sorted({row["cell"]["live"] for row in rows}), start=1):
        here = sorted((r for r in rows if r["cell"]["live"] == live), key=lambda r: int(r["cell"]["partitions"]))
        hs, style = [row["cell"]["partitions"] for row in here], style_of(series)
        low, high = ([row[f"virtual_seconds_{end}95"] for row in here] for end in ("low", "high"))
        axes.fill_between(hs, low, high, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(hs, [r["virtual_seconds_mean"] for r in here], color=style.colour, linestyle=style.dash)
        axes.plot(hs, [row["paper_seconds"] for row in here], label=f"k = {live}", **style.mark)
    add_legend(figure, columns=5)
    return figure


def table1_times_table(rows: Sequence[Row]) -> Table:
    """The data of `table1_times`."""
    headings = ("k", "h", "paper, s", "formula (46), s", "virtual clock, virtual s", "low", "high")
    columns = ("paper_seconds", "formula_seconds", *(f"virtual_seconds_{end}" for end in ("mean", "low95", "high95")))
    return headings, [(*_cell(row), *(row[column] for column in columns)) for row in rows]


def decoding_error_against_partitions(rows: Sequence[Row]) -> ReportFigure:
    """Actual and estimated error of decoding at each family of points.

    Parameters
    ----------
    rows
        Rows of a reproduction of Table I.

    Returns
    -------
    ReportFigure
        Lines are measured errors; bands reach up to the error that the code estimated before it decoded.
    """
    largest = _largest_per_partitions(rows)
    hs = [row["cell"]["partitions"] for row in largest]
    figure, axes = new_axes("partitions h", "relative error of D B")
    scale_x(axes, hs, whole=True)
    kinds = ("actual", "estimated")
    scale_y(axes, [row[f"{points}_error_{kind}"] for row in largest for points, _ in FAMILIES for kind in kinds])
    for series, (points, name) in enumerate(FAMILIES, start=1):
        actual, estimated = ([row[f"{points}_error_{kind}"] for row in largest] for kind in kinds)
        style = style_of(series)
        axes.fill_between(hs, actual, estimated, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(hs, actual, label=name, **style.line)
    add_legend(figure, columns=3)
    return figure


def errors_table(rows: Sequence[Row]) -> Table:
    """The data of `decoding_error_against_partitions`."""
    return ("k", "h", "points", "actual", "estimated"), [
        (*_cell(row), name, row[f"{points}_error_actual"], row[f"{points}_error_estimated"])
        for row in _largest_per_partitions(rows)
        for points, name in FAMILIES
    ]


def survival_against_products(rows: Sequence[Row]) -> ReportFigure:
    """Iterations that a run survives against the products that the paper's seconds are worth.

    Parameters
    ----------
    rows
        Rows of a reproduction of Table I.

    Returns
    -------
    ReportFigure
        Each cell once per family of points.
    """
    figure, axes = new_axes("products that the published seconds are worth at 30 GFLOP/s", "iterations survived")
    products = [row["paper_products_implied"] for row in rows]
    scale_x(axes, products)
    scale_y(axes, [0, *(row[f"{points}_iterations_survived"] for row in rows for points, _ in FAMILIES)], counts=True)
    for series, (points, name) in enumerate(FAMILIES, start=1):
        survived = [row[f"{points}_iterations_survived"] for row in rows]
        # most of them coincide: larger open marks behind smaller ones
        axes.plot(
            products, survived, label=name, markersize=13 - 3 * series, markerfacecolor="none", **style_of(series).mark
        )
    add_legend(figure, columns=3)
    return figure


def survival_table(rows: Sequence[Row]) -> Table:
    """The data of `survival_against_products`."""
    headings = ("k", "h", "products implied", *(name for _, name in FAMILIES))
    return headings, [
        (*_cell(row), row["paper_products_implied"], *(row[f"{p}_iterations_survived"] for p, _ in FAMILIES))
        for row in rows
    ]


def _cell(row: Row) -> tuple[int, int]:
    return row["cell"]["live"], row["cell"]["partitions"]


def _largest_per_partitions(rows: Sequence[Row]) -> list[Row]:
    largest: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: int(row["cell"]["live"])):
        largest[row["cell"]["partitions"]] = row
    return [largest[h] for h in sorted(largest)]
