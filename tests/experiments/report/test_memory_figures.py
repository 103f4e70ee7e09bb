"""The figure of time against memory: one line for each kind of code, and the Pareto front."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coded_als.experiments.report.html_report import open_results
from coded_als.experiments.report.sweep_figures import (
    MemoryPoint,
    iteration_against_memory,
    memory_points,
    memory_table,
    pareto_front,
)


def point(memory, seconds, kind="a"):
    return MemoryPoint(f"{kind}:{memory}", kind, True, memory, seconds)


def test_the_front_is_what_nothing_beats_in_both():
    points = [point(3, 1.0), point(1, 4.0), point(2, 5.0), point(2, 2.0, "b"), point(4, 1.0, "b")]
    assert pareto_front(points) == [point(1, 4.0), point(2, 2.0, "b"), point(3, 1.0)]


def test_a_line_for_each_kind_of_code_of_a_sweep(folder: Path):
    [part, *_] = open_results(folder).slices
    figure = iteration_against_memory(part)
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("memory of a worker [MB]", "virtual seconds of an iteration")
    lines = {line.get_label(): line for line in axes.lines}
    points = memory_points(part)
    assert set(lines) == {p.kind for p in points} | {"Pareto front"}
    assert {"systematic", "replicated", "entangled h x h, circle", "entangled h x h, real, paper protocol"} <= set(
        lines
    )
    for kind, line in lines.items():
        here = pareto_front(points) if kind == "Pareto front" else [p for p in points if p.kind == kind]
        expected = sorted((p.memory_bytes / 1e6, p.seconds) for p in here)
        np.testing.assert_allclose(sorted(map(tuple, line.get_xydata())), expected)
    headings, body = memory_table(part)
    assert len(body) == len(points)
    assert len(headings) == len(body[0])
    assert [row[4] for row in body].count("yes") == len(pareto_front(points))


def test_a_kind_of_code_looks_in_every_figure_as_its_first_series_does(folder: Path):
    for part in open_results(folder).slices:
        lines = {line.get_label(): line for line in iteration_against_memory(part).axes[0].lines}
        looks = {
            name: (lines[kind].get_color(), lines[kind].get_marker())
            for kind, name in {"replicated": "replicated:copies=2", "systematic": "systematic"}.items()
        }
        assert looks == {name: (part.styles[name].colour, part.styles[name].marker) for name in looks}
