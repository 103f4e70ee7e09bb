"""Figures of Table I: published and fitted seconds, decoding errors, and what runs survive."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.codes import PointFamily
from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.slices import Table
from coded_als.experiments.report.styles import BAND, style_of
from coded_als.experiments.table1.rows import Table1Row, at_points, live_and_partitions

NAMES: dict[PointFamily, str] = {
    "real": "real (Chebyshev nodes)",
    "equispaced": "real, equispaced",
    "circle": "unit circle",
}


def decoding_error_against_partitions(rows: Sequence[Table1Row]) -> ReportFigure:
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
    every = [at_points(row, points) for row in largest for points in NAMES]
    scale_y(axes, [error for found in every for error in (found.error_actual, found.error_estimated)])
    for series, (points, name) in enumerate(NAMES.items(), start=1):
        actual = [at_points(row, points).error_actual for row in largest]
        estimated = [at_points(row, points).error_estimated for row in largest]
        style = style_of(series)
        axes.fill_between(hs, actual, estimated, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(hs, actual, label=name, **style.line)
    add_legend(figure, columns=3)
    return figure


def errors_table(rows: Sequence[Table1Row]) -> Table:
    """The data of `decoding_error_against_partitions`."""
    return ("k", "h", "points", "actual", "estimated"), [
        (*live_and_partitions(row), name, at_points(row, points).error_actual, at_points(row, points).error_estimated)
        for row in _largest_per_partitions(rows)
        for points, name in NAMES.items()
    ]


def survival_against_products(rows: Sequence[Table1Row]) -> ReportFigure:
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
    scale_y(axes, [0, *(at_points(row, points).iterations_survived for row in rows for points in NAMES)], counts=True)
    for series, (points, name) in enumerate(NAMES.items(), start=1):
        survived = [at_points(row, points).iterations_survived for row in rows]
        # most of them coincide: larger open marks behind smaller ones
        axes.plot(
            products, survived, label=name, markersize=13 - 3 * series, markerfacecolor="none", **style_of(series).mark
        )
    add_legend(figure, columns=3)
    return figure


def survival_table(rows: Sequence[Table1Row]) -> Table:
    """The data of `survival_against_products`."""
    headings = ("k", "h", "products implied", *NAMES.values())
    return headings, [
        (
            *live_and_partitions(row),
            row["paper_products_implied"],
            *(at_points(row, points).iterations_survived for points in NAMES),
        )
        for row in rows
    ]


def _largest_per_partitions(rows: Sequence[Table1Row]) -> list[Table1Row]:
    largest: dict[int, Table1Row] = {}
    for row in sorted(rows, key=lambda row: int(row["cell"]["live"])):
        largest[row["cell"]["partitions"]] = row
    return [largest[h] for h in sorted(largest)]
