"""What a running fit or sweep has to show: from events and iterations to texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coded_als import CodedALS, SimulatedCluster
from coded_als.als import CodedIteration
from coded_als.cluster import TaskEvent
from coded_als.experiments.live.status import RECENT, FitStatus, SweepStatus, iterations_left, seconds_left
from coded_als.experiments.live.view import View, on_the_terminal, render
from coded_als.experiments.sweep.grids import Cell
from coded_als.planner.schemes import Scheme


def iteration(index: int, remaining: float, seconds: float = 0.5) -> CodedIteration:
    return CodedIteration(index, 2.0, seconds, remaining, (5,), 1e-12)


def new_status(workers: int = 4) -> FitStatus:
    return FitStatus("fit", workers, 1e-8, 100, lambda: 7.25, "wall")


def event(index: int, worker: int, status: str, received_s: float | None = None) -> TaskEvent:
    return TaskEvent(index, "E = D B", worker, status, 0.0, received_s)  # type: ignore[arg-type]


def test_who_is_late_is_told_by_the_rounds_since_the_last_counted_response() -> None:
    status = new_status()
    for told in (
        *(event(0, worker, "counted", 0.2) for worker in range(3)),
        event(0, 3, "superseded"),
        *(event(1, worker, "counted", 0.4) for worker in (0, 1)),
        event(1, 2, "late", 9.0),
        event(1, 3, "superseded"),
        *(event(2, worker, "counted", 0.6) for worker in (0, 2)),
        event(2, 1, "lost"),
    ):
        status.event(told)
    lines = status.view().lines
    assert [line.state for line in lines] == ["in time", "lost", "in time", "late"]
    assert [line.cells[2:5] for line in lines] == [("0", "3", "0"), ("1", "2", "1"), ("0", "2", "1"), ("3", "0", "2")]
    assert lines[0].cells[5] == "400.0 ms"
    assert [line.rounds for line in lines] == ["+++", "++!", "+x+", "xx."]
    assert ("workers", "2 in time, 1 late, 1 lost") in status.view().facts
    assert ("rounds", "3") in status.view().facts


def test_no_more_than_the_last_rounds_are_kept() -> None:
    status = new_status(1)
    for index in range(1000):
        status.event(event(index, 0, "counted", 0.1))
    [line] = status.view().lines
    assert line.rounds == "+" * RECENT
    assert line.cells[3] == "1000"


@given(st.floats(0.05, 3.0), st.integers(2, 8), st.floats(0.01, 1.0))
def test_a_fit_that_converges_at_one_rate_ends_when_it_is_said_to(rate: float, known: int, start: float) -> None:
    history = [iteration(i, start * math.exp(-rate * i)) for i in range(1, known + 1)]
    tolerance = 1e-14
    left = iterations_left(history, tolerance, 10**6)
    assert left == pytest.approx(math.log(history[-1].remaining / tolerance) / rate, rel=1e-6)
    assert seconds_left(history, tolerance, 10**6) == pytest.approx(0.5 * left)


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [([], None), ([0.1], None), ([math.inf, math.inf], None), ([0.1, 0.2], 98.0), ([1e-3, 1e-9], 0.0)],
)
def test_what_cannot_be_told_is_not_told(remaining: list[float], expected: float | None) -> None:
    history = [iteration(index, value) for index, value in enumerate(remaining, start=1)]
    assert iterations_left(history, 1e-8, 100) == expected
    assert iterations_left(history, 0.0, 100) in (None, 98.0)


def test_a_fit_is_followed_to_its_end() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 40))
    model = CodedALS(rank=3, solver="als", iterations=40, tolerance=1e-3)
    with SimulatedCluster(workers=8, delays="exp:mean=20ms", seed=0) as cluster:
        status = FitStatus("fit", 8, 1e-3, 40, cluster.seconds, "virtual")
        cluster.observers.append(status.event)
        model.fit(ratings, cluster, callback=status.iteration)
        assert not status.view().finished
        status.finish()
        view = status.view()
    facts = dict(view.facts)
    assert (view.finished, view.fraction, facts["time left"]) == (True, 1.0, "none: it has ended")
    assert facts["iteration"] == f"{len(model.history_)} of at most 40"
    assert sum(int(line.cells[3]) for line in view.lines) == sum(record.responses for record in model.rounds_)


def row(status: str = "done") -> dict:
    cell = Cell(Scheme("entangled:h=3", 12), 1, "exp:mean=20ms").key()
    if status != "done":
        return {"cell": cell, "status": status, "reason": "workers must be at least 17; got 12. Add workers."}
    return {"cell": cell, "status": status, "reason": None, "virtual_seconds_mean": 0.51234, "iterations": 8}


def test_a_sweep_says_how_far_it_is_and_how_long_it_will_take() -> None:
    now = [100.0]
    status = SweepStatus("sweep", "virtual", lambda: now[0])
    status.tell(2, 10)
    assert dict(status.view().facts)["time left"] == "not known yet"
    now[0] += 6.0
    status.tell(3, 10, row())
    status.tell(4, 10, row("infeasible"))
    view = status.view()
    assert dict(view.facts) == {
        "cells": "4 of 10, 2 of them from an earlier run",
        "of this run": "1 done, 1 infeasible",
        "so far": "6.0 s",
        "time left": "18.0 s",
    }
    assert view.fraction == 0.4
    # the last one first
    assert [dict(zip(view.headings, line.cells, strict=True))["status"] for line in view.lines] == [
        "infeasible",
        "done",
    ]
    seen = dict(zip(view.headings, view.lines[1].cells, strict=True))
    assert seen == {
        "cell": "entangled:h=3, fused, als",
        "status": "done",
        "seconds, or why not": "0.5123 virtual",
        "workers": "12",
        "dead": "1",
        "delays": "exp:mean=20ms",
        "iterations": "8",
    }
    refused = dict(zip(view.headings, view.lines[0].cells, strict=True))
    assert refused["seconds, or why not"] == "workers must be at least 17; got 12. Add workers."
    # only a fit has a decoding error
    status.tell(5, 10, row() | {"largest_decoding_error_estimate": 3e-12})
    assert [line.cells[-1] for line in status.view().lines] == ["3e-12", "", ""]


def texts(view: View, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(render(view, width, height))
    return console.export_text().splitlines()


def test_the_terminal_shows_the_worst_where_there_is_no_room_for_all() -> None:
    status = new_status(200)
    for worker in range(200):
        status.event(event(5, worker, "superseded" if worker in (7, 150) else "counted", 0.1))
    lines = texts(status.view(), 80, 24)
    assert len(lines) <= 24
    assert sum(" late " in line for line in lines) == 2
    assert lines[-1] == "and 190 more"
    assert len(texts(status.view(), 120, 400)) > 200


def test_a_look_fits_into_eighty_columns() -> None:
    status = new_status(3)
    for index in range(90):
        status.event(event(index, 0, "counted", 0.1234))
    status.iteration(iteration(1, 0.5))
    lines = texts(status.view(), 80, 40)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert any("■" * 10 in line for line in lines)


def test_what_is_no_terminal_gets_the_end_alone(capfd: pytest.CaptureFixture[str]) -> None:
    status = new_status(2)
    with on_the_terminal(status):
        status.event(event(0, 0, "counted", 0.1))
        status.finish()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("none: it has ended") == 1
    assert err.endswith("\n")
