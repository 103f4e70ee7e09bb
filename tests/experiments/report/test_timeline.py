"""The timeline of a fit: rows, phases and endings from events."""

from __future__ import annotations

import numpy as np
import pytest

from coded_als import CodedALS, SimulatedCluster
from coded_als.cluster import TaskEvent
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import EventLog
from coded_als.experiments.report.timeline import round_ends, timeline, timeline_rows

EVENTS = [
    TaskEvent(0, "E = D B", 0, "counted", 0.0, 1.0, waited_s=0.4, computed_s=0.4),
    TaskEvent(0, "E = D B", 1, "superseded", 0.0, None, waited_s=0.9, computed_s=0.0),
    TaskEvent(0, "E = D B", 2, "unsent", None, None),
    TaskEvent(1, "E = D B", 0, "counted", 1.0, 2.0, waited_s=0.1, computed_s=0.4),
    TaskEvent(1, "E = D B", 1, "late", 1.0, 2.05, waited_s=0.5, computed_s=0.4),
    TaskEvent(1, "E = D B", 2, "unfinished", 1.0, None),
]


def test_rows_put_the_phases_in_the_middle_of_the_way() -> None:
    first, dropped, *_ = timeline_rows(EVENTS)
    assert (first.sent_s, first.waiting_s, first.computing_s, first.computed_s, first.done_s) == pytest.approx(
        (0.0, 0.1, 0.5, 0.9, 1.0)
    )
    assert (dropped.waiting_s, dropped.done_s) == (0.0, 0.9)
    assert len(timeline_rows(EVENTS)) == 5


def test_a_round_ends_at_its_last_counted_response() -> None:
    assert round_ends(timeline_rows(EVENTS)) == [1.0, 2.0]


def test_the_figure_has_a_row_for_each_worker_and_a_mark_for_each_ending() -> None:
    figure = timeline(EVENTS, clock="wall")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("wall seconds", "worker")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]
    marks = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert marks["response counted"] == [[1.0, 0], [2.0, 0]]
    assert marks["superseded"] == [[0.9, 1]]
    assert marks["response too late"] == [[2.05, 1]]
    assert marks["no response"] == [[1.0, 2]]
    bars = {container.get_label(): [bar.get_width() for bar in container] for container in axes.containers}
    assert bars["computing"] == pytest.approx([0.4, 0.4, 0.4])
    assert bars["waiting (injected delay)"] == pytest.approx([0.4, 0.9, 0.1, 0.5])


def test_the_first_rounds_alone() -> None:
    figure = timeline(EVENTS, rounds=1)
    assert max(end for line in figure.axes[0].lines for end in line.get_xdata()) == 1.0


def test_no_events_make_an_empty_figure() -> None:
    assert timeline([]).axes[0].get_xlabel() == "wall seconds"


def test_a_fit_on_the_virtual_clock() -> None:
    ratings, log = np.random.default_rng(0).standard_normal((40, 30)), EventLog()
    with SimulatedCluster(workers=8, delays="exp:mean=20ms", seed=0) as cluster:
        cluster.observers.append(log)
        CodedALS(rank=3, partitions=2, iterations=4, tolerance=0.1).fit(ratings, cluster)
    rows = timeline_rows(log.events)
    assert {row.worker for row in rows} == set(range(8))
    assert all(r.sent_s <= r.waiting_s <= r.computing_s <= r.computed_s <= r.done_s + 1e-12 for r in rows)
    assert len(round_ends(rows)) == len({row.round_index for row in rows})


def test_the_timeline_shows_the_pieces_that_counted() -> None:
    log = EventLog()
    with SimulatedCluster(4, "slowdown-always:n=1,factor=3", seed=0, machine=Machine(1e4)) as cluster:
        cluster.observers.append(log)
        ratings = np.random.default_rng(0).standard_normal((30, 20))
        CodedALS(2, code="systematic:p=2,pieces=4", iterations=2, precomputation="local").fit(ratings, cluster)
    counted = [row for row in timeline_rows(log.events) if row.status == "counted"]
    assert all(row.pieces in range(1, 5) for row in counted)
    assert any(row.pieces < 4 for row in counted if row.pieces)
    drawn = [text.get_text() for text in timeline(log.events).axes[0].texts]
    assert sorted(drawn) == sorted(str(row.pieces) for row in counted)
