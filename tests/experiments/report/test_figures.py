"""Figures: axes, labels, units, legend entries and points are those of the stored data."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from coded_als.experiments.report.canvas import (
    COLOURS,
    MARKERS,
    CaptionedFigure,
    add_legend,
    named_apart,
    new_axes,
    scale_x,
    scale_y,
    spans_decades,
    style_of,
)
from coded_als.experiments.report.html_report import Results, open_results
from coded_als.experiments.report.slices import Slice, scheme_name, series_name, series_styles
from coded_als.experiments.report.sweep_figures import (
    distribution,
    objective_against_seconds,
    time_against_delays,
    time_against_partitions,
    time_against_workers,
)
from coded_als.experiments.report.table1_figures import (
    decoding_error_against_partitions,
    survival_against_products,
    table1_times,
)
from coded_als.experiments.sweep.rows import SchemeCell


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_results(folder)


@pytest.fixture(scope="module", params=range(4))
def part(results: Results, request: pytest.FixtureRequest) -> Slice:
    return results.slices[request.param]


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(figure, name):
    return next(line for line in figure.axes[0].lines if line.get_label() == name)


def labels(figure) -> tuple[str, str]:
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def test_time_against_partitions_shows_every_cell_at_the_most_workers(part: Slice) -> None:
    figure = time_against_partitions(part)
    assert labels(figure) == ("partitions h", "virtual seconds to convergence")
    assert set(legend_of(figure)) == {series_name(row["cell"]) for row in part.largest}
    for name, rows in part.grouped(part.largest).items():
        drawn = line(figure, name)
        means = {row["cell"]["partitions"]: part.mean(row) for row in rows}
        if None in means:
            assert set(drawn.get_ydata()) == {means[None]}
        else:
            assert dict(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)) == means


def test_time_against_workers_shows_the_fastest_h(part: Slice) -> None:
    figure = time_against_workers(part)
    assert labels(figure) == ("workers W", "virtual seconds to convergence")
    for name in legend_of(figure):
        drawn = line(figure, name)
        for workers, seconds in zip(drawn.get_xdata(), drawn.get_ydata(), strict=True):
            here = [r for r in part.rows if series_name(r["cell"]) == name and r["cell"]["workers"] == workers]
            assert seconds == min(map(part.mean, here))


def test_bands_hold_the_stored_intervals(part: Slice) -> None:
    figure = time_against_workers(part)
    bands = [band.get_paths()[0].vertices[:, 1] for band in figure.axes[0].collections]
    for rows, band in zip(part.grouped(part.best(part.rows)).values(), bands, strict=True):
        assert band.min() == pytest.approx(min(part.interval(row)[0] for row in rows))
        assert band.max() == pytest.approx(max(part.interval(row)[1] for row in rows))


def test_the_distribution_steps_through_the_stored_quantiles(part: Slice) -> None:
    figure = distribution(part)
    assert labels(figure) == ("virtual seconds of one iteration", "share of iterations")
    for row in part.best(part.largest):
        drawn, stored = line(figure, series_name(row["cell"])), row["virtual_iteration_seconds_quantiles"]
        assert drawn.get_drawstyle() == "steps-post"
        assert list(drawn.get_xdata()) == stored["seconds"]
        assert list(drawn.get_ydata()) == stored["levels"]


def test_delay_models_are_beside_each_other(results: Results) -> None:
    parts = [part for part in results.slices if part.stragglers == 0]
    figure = time_against_delays(parts)
    assert labels(figure) == ("virtual seconds to convergence", "delays of the workers")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert ["".join(name.split()) for name in names] == [part.delays for part in parts]
    drawn = {tuple(point) for container in figure.axes[0].containers for point in container[0].get_xydata()}
    for place, part in enumerate(parts):
        for row in part.best(part.largest):
            assert any(x == part.mean(row) and abs(y - place) < 0.5 for x, y in drawn)


def test_the_objective_of_the_examples(results: Results) -> None:
    examples = results.examples
    assert examples is not None
    figure = objective_against_seconds(examples)
    assert labels(figure) == ("virtual seconds", "objective / optimum − 1")
    assert figure.axes[0].get_yscale() == "log"
    assert legend_of(figure) == [scheme_name(curve["cell"]) for curve in examples["curves"]]
    for curve in examples["curves"]:
        assert list(line(figure, scheme_name(curve["cell"])).get_ydata()) == curve["excess"]
        assert curve["seconds_low95"] < curve["seconds_mean"] < curve["seconds_high95"]


@pytest.fixture(scope="module")
def table1_rows() -> list[dict]:
    """Rows with the columns of a reproduction, and figures that are easy to tell apart."""
    rows = []
    for live, h in [(10, 2), (20, 2), (20, 3), (30, 5)]:
        row = {"cell": {"live": live, "partitions": h}, "paper_seconds": live / h, "formula_seconds": 1.0 + live / h}
        row |= {f"virtual_seconds_{k}": live / h + v for k, v in [("mean", 0.0), ("low95", -0.1), ("high95", 0.1)]}
        row["paper_products_implied"] = 10.0**h
        for place, points in enumerate(("real", "equispaced", "circle")):
            error = 10.0 ** (h - 10 - place)
            row |= {f"{points}_error_actual": error, f"{points}_error_estimated": 10 * error}
            row |= {f"{points}_iterations_survived": live + place, f"{points}_worst_deviation": None}
        rows.append(row)
    return rows


def test_copies_are_named_also_where_they_are_two() -> None:
    cell: SchemeCell = {"code": "replicated", "workers": 9, "partitions": None, "protocol": "fused", "solver": "als"}
    assert series_name(cell) == "replicated:copies=2"
    assert scheme_name({**cell, "code": "replicated:copies=3"}) == "replicated:copies=3"


def test_table1_has_a_marker_of_its_own_for_each_k(table1_rows) -> None:
    figure = table1_times(table1_rows)
    assert labels(figure) == ("partitions h", "time of a run (seconds)")
    *ks, marks, lines = legend_of(figure)
    assert ks == ["k = 10", "k = 20", "k = 30"]
    assert (marks, lines) == ("published", "fitted law, virtual clock")
    assert (line(figure, marks).get_linestyle(), line(figure, lines).get_linestyle()) == ("None", "-")
    drawn = [line(figure, name) for name in ks]
    assert len({found.get_marker() for found in drawn}) == len({found.get_color() for found in drawn}) == 3
    assert list(drawn[1].get_ydata()) == [10.0, 20 / 3]


def test_decoding_errors_and_survival(table1_rows) -> None:
    figure = decoding_error_against_partitions(table1_rows)
    assert labels(figure) == ("partitions h", "relative error of D B")
    assert figure.axes[0].get_yscale() == "log"
    assert list(line(figure, "unit circle").get_ydata()) == pytest.approx([1e-10, 1e-9, 1e-7])
    figure = survival_against_products(table1_rows)
    assert figure.axes[0].get_xscale() == "log"
    assert list(line(figure, "real, equispaced").get_ydata()) == [11, 21, 21, 31]


def test_every_figure_shows_what_its_table_says(results: Results) -> None:
    """Every number that a line or a bar shows is in the table beside it."""
    for shown in results.figures():
        if shown.name.startswith("timeline"):
            continue
        known = {value for row in shown.body for value in row if isinstance(value, float | int)}
        known |= {float(h.rstrip("%")) / 100 for h in shown.headings if h.endswith("%")}
        axes = shown.figure.axes[0]
        for drawn in axes.lines:
            if drawn.get_label().startswith("_"):
                continue
            for point in zip(drawn.get_xdata(), drawn.get_ydata(), strict=True):
                assert any(value in known for value in point), (shown.name, drawn.get_label(), point)
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_names_of_figures_are_file_names_and_differ(results: Results) -> None:
    names = [shown.name for shown in results.figures()]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and not set(name) & set(" :/,\\") for name in names)
    twice = [CaptionedFigure("same", "", "", new_axes("", "")[0], (), ()) for _ in range(3)]
    assert [shown.name for shown in named_apart(twice)] == ["same", "same-2", "same-3"]


def test_a_series_looks_the_same_in_every_figure(results: Results) -> None:
    looks: dict[str, set] = {}
    for part in results.slices:
        for figure in (time_against_partitions(part), time_against_workers(part), distribution(part)):
            for name in legend_of(figure):
                drawn = line(figure, name)
                looks.setdefault(name, set()).add((drawn.get_color(), drawn.get_marker(), drawn.get_linestyle()))
    assert all(len(seen) == 1 for seen in looks.values())
    assert len({look for seen in looks.values() for look in seen}) == len(looks)
    assert {"replicated:copies=2", "replicated:copies=4"} <= looks.keys()


def test_no_two_series_share_colour_and_marker() -> None:
    assert len({(style_of(i).colour, style_of(i).marker) for i in range(len(COLOURS) * len(MARKERS))}) == 77


# Machado, Oliveira and Fernandes (2009), severity 1: what protanopes, deuteranopes and tritanopes see of linear RGB
BLINDNESS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour: str, matrix) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-3))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_differ_for_colour_blind_readers(kind: str) -> None:
    seen = [lab(colour, BLINDNESS[kind]) for colour in COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 11


def test_axes_are_logarithmic_where_values_span_decades() -> None:
    assert spans_decades([0.1, 5.0])
    assert not spans_decades([1.0, 5.0])
    assert not spans_decades([0.0, 500.0])
    for values in ([1e-9, 1.0], [0.01, 0.5], [3.0, 5.0], [0.0], [7.0], [1e-100, 1e100]):
        _, axes = new_axes("x", "y")
        scale_x(axes, values)
        scale_y(axes, values)
        low, high = axes.get_ylim()
        assert low <= min(values) <= max(values) < high
        assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= 14


def test_whole_axes_mark_their_values() -> None:
    _, axes = new_axes("W", "y")
    scale_x(axes, [10, 20, 20, 40], whole=True)
    assert list(axes.get_xticks()) == [10, 20, 40]
    scale_x(axes, list(range(1, 41)), whole=True)
    assert len(axes.get_xticks()) <= 12
    assert axes.get_xticks()[-1] == 40


def test_an_interval_that_reaches_zero_leaves_the_axis_logarithmic() -> None:
    def row(code: str, mean: float, low: float, high: float) -> dict:
        cell = {"code": code, "workers": 4, "partitions": None, "protocol": "fused", "solver": "als"}
        seconds = {"mean": mean, "low95": low, "high95": high}
        return {"cell": cell, **{f"virtual_seconds_{name}": value for name, value in seconds.items()}}

    rows = (row("uncoded", 13.0, 12.5, 13.5), row("systematic", 0.1, -0.1, 0.3))
    part = Slice("virtual", "none", 0, "als", rows, series_styles(row["cell"] for row in rows))
    assert time_against_delays([part]).axes[0].get_xscale() == "log"
    assert time_against_workers(part).axes[0].get_yscale() == "log"


@pytest.mark.parametrize("length", range(4, 44))
def test_a_legend_is_inside_its_figure_however_long_the_names(length: int) -> None:
    figure, axes = new_axes("x", "y")
    for letter in "abcd":
        axes.plot([0], [0], label=letter * length)
    add_legend(figure)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
