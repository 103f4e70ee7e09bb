"""Figures of the reproduction: Table I, its extension to other numbers of workers, and "when does coding pay?"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from coded_als.codes import PointFamily
from coded_als.experiments.report.canvas import (
    BAND,
    INK,
    SOFT,
    CaptionedFigure,
    Entry,
    ReportFigure,
    Table,
    add_legend,
    new_axes,
    rc_context,
    scale_x,
    scale_y,
    style,
    style_of,
    styles,
)
from coded_als.experiments.sweep.rows import known_interval
from coded_als.experiments.table1.paper_table import Table1Row, at_points, live_and_partitions

# figures need rows, and not the runs that made them
if TYPE_CHECKING:
    from coded_als.experiments.table1.extended import ExtendedRow
    from coded_als.experiments.when_coding_pays import PayOutcome

# meanings of a mark and of a line, in every colour
PUBLISHED, FITTED = "published", "fitted law, virtual clock"
NAMES: dict[PointFamily, str] = {
    "real": "real (Chebyshev nodes)",
    "equispaced": "real, equispaced",
    "circle": "unit circle",
}


def table1_times(rows: Sequence[Table1Row]) -> ReportFigure:
    """Draw the published seconds against h as marks, and the fitted law on the virtual clock as lines with 95 % bands.

    Examples
    --------
    >>> from coded_als.experiments.report import table1_times, open_results
    >>> figure = table1_times(open_results("out/table1").rows)  # doctest: +SKIP
    """
    figure, axes = new_axes("partitions h", "time of a run (seconds)")
    scale_x(axes, [row["cell"]["partitions"] for row in rows], whole=True)
    scale_y(axes, [value for row in rows for value in (row["paper_seconds"], row["virtual_seconds_mean"])])
    for series, live in enumerate(sorted({row["cell"]["live"] for row in rows}), start=1):
        here = sorted((r for r in rows if r["cell"]["live"] == live), key=lambda r: int(r["cell"]["partitions"]))
        hs, style = [row["cell"]["partitions"] for row in here], style_of(series)
        low, high = zip(*(known_interval(*_virtual_seconds(row)) for row in here), strict=True)
        axes.fill_between(hs, low, high, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(hs, [r["virtual_seconds_mean"] for r in here], color=style.colour, linestyle=style.dash)
        axes.plot(hs, [row["paper_seconds"] for row in here], label=f"k = {live}", **style.mark)
    axes.plot([], [], color=SOFT, marker="o", linestyle="none", label=PUBLISHED)
    axes.plot([], [], color=SOFT, label=FITTED)
    add_legend(figure, columns=4)
    return figure


def table1_times_table(rows: Sequence[Table1Row]) -> Table:
    """The data of `table1_times`."""
    headings = ("k", "h", "paper, s", "formula (46), s", "virtual clock, virtual s", "low", "high")
    return headings, [
        (*live_and_partitions(row), row["paper_seconds"], row["formula_seconds"], *_virtual_seconds(row))
        for row in rows
    ]


def _virtual_seconds(row: Table1Row) -> tuple[float, float | None, float | None]:
    return row["virtual_seconds_mean"], row["virtual_seconds_low95"], row["virtual_seconds_high95"]


def decoding_error_against_partitions(rows: Sequence[Table1Row]) -> ReportFigure:
    """Draw the measured errors of decoding at each family of points, with bands up to the estimated errors.

    Examples
    --------
    >>> from coded_als.experiments.report import decoding_error_against_partitions, open_results
    >>> figure = decoding_error_against_partitions(open_results("out/table1").rows)  # doctest: +SKIP
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
    """Draw iterations survived, for each family of points, against the products that the paper's seconds are worth.

    Examples
    --------
    >>> from coded_als.experiments.report import survival_against_products, open_results
    >>> figure = survival_against_products(open_results("out/table1").rows)  # doctest: +SKIP
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


TABLE1_FIGURES: tuple[Entry[Sequence[Table1Row]], ...] = (
    Entry(
        "table1-times",
        "Table I: time against h",
        "Marks: the paper's seconds. Lines: virtual seconds of the law (46), fitted to the columns that decode "
        "soundly at real points, with the 95 % interval of the mean as a band (thinner than the line).",
        table1_times,
        table1_times_table,
    ),
    Entry(
        "table1-decoding-error",
        "Decoding error against h",
        "Median over random sets of first responses, at the largest k of each h. Lines are measured errors; the band "
        "reaches up to the error that the code estimated before it decoded.",
        decoding_error_against_partitions,
        errors_table,
    ),
    Entry(
        "table1-survival",
        "Do the cells collapse where real points break down?",
        "Each cell once per family of points. A run survives while its exact objective stays within 1 % of exact "
        "arithmetic's.",
        survival_against_products,
        survival_table,
    ),
)


def table1_figures_of(rows: Sequence[Table1Row]) -> Iterator[CaptionedFigure]:
    """All figures of a reproduction of Table I, drawn one at a time."""
    for entry in TABLE1_FIGURES:
        yield entry.of(rows)


def extended_times(rows: Sequence[ExtendedRow]) -> ReportFigure:
    """Formula (46) as marks, the clock without the master's work as lines, and with it as dashes, against h."""
    figure, axes = new_axes("partitions h", "time of a run (seconds)")
    cut = [row for row in rows if row.cell.partitions is not None]
    scale_x(axes, [row.cell.partitions or 0 for row in cut], whole=True)
    scale_y(axes, [value for row in cut for value in (row.law_seconds_mean, row.with_master_seconds)])
    names = {_series(row): _series_name(row, cut) for row in cut}
    for place, (key, name) in enumerate(names.items(), start=1):
        here = sorted((row for row in cut if _series(row) == key), key=lambda row: row.cell.partitions or 0)
        hs, colour = [row.cell.partitions or 0 for row in here], style_of(place).colour
        axes.plot(hs, [row.clock_seconds_mean for row in here], color=colour)
        axes.plot(hs, [row.with_master_seconds for row in here], color=colour, linestyle="--")
        known = [np.nan if row.formula_seconds is None else row.formula_seconds for row in here]
        axes.plot(hs, known, label=name, **style_of(place).mark)
    axes.plot([], [], color=SOFT, marker="o", linestyle="none", label="formula (46)")
    axes.plot([], [], color=SOFT, label="clock")
    axes.plot([], [], color=SOFT, linestyle="--", label="clock and master")
    add_legend(figure, columns=4)
    return figure


def _series(row: ExtendedRow) -> tuple[int, str, str]:
    """The cells of one line: all but h."""
    code = ",".join(part for part in row.cell.code.replace(":", ",").split(",") if not part.startswith("h="))
    return row.cell.workers, code, row.cell.delays


def _series_name(row: ExtendedRow, rows: Sequence[ExtendedRow]) -> str:
    """W, and the code and the delays where they differ between the lines."""
    varied = [len({_series(other)[place] for other in rows}) > 1 for place in (1, 2)]
    also = [text for text, differs in zip(_series(row)[1:], varied, strict=True) if differs]
    return ", ".join([f"W = {row.cell.workers}", *also])


def rival_over_code(found: Sequence[PayOutcome]) -> ReportFigure:
    """Time of the best method without a code over that of the best code; above the line coding pays."""
    works_s = sorted({outcome.setting.work_s for outcome in found})
    looks = styles(outcome.setting.delays for outcome in found)
    with rc_context(style()):
        figure = ReportFigure(figsize=(3.0 * len(works_s), 4.6), layout="constrained")
        panels = figure.subplots(1, len(works_s), sharey=True, squeeze=False)[0]
        for panel, work_s in zip(panels, works_s, strict=True):
            panel.axhline(1.0, color=SOFT, linewidth=1)
            for spec, look in looks.items():
                alike = [o for o in found if (o.setting.delays, o.setting.work_s) == (spec, work_s)]
                shown = [outcome.setting.workers for outcome in alike], [outcome.ratio.value for outcome in alike]
                panel.plot(*shown, color=look.colour, marker=look.marker, markersize=4, linewidth=1.2, label=spec)
            panel.set(xscale="log", yscale="log", xlabel="workers W")
            panel.set_title(f"work {1e3 * work_s:g} ms", fontsize=10, color=INK)
        panels[0].set_ylabel("best rival / best code")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure
