"""What a recorder writes, and that a replay of it is the run that it came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coded_als.cluster import Fastest, Round, TaskEvent, all_of
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import TimelineRecorder, TraceRecorder
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.delays import DelayStream, read_trace
from coded_als.errors import CodedALSError
from coded_als.master import LocalCluster

ROUND = Round("product", ("left", "right"), response_shapes=((1, 1, 1),), operations=1e6, label="E = D B")


def run(delays: str, recorder: TraceRecorder | TimelineRecorder, k: int, rounds: int = 4) -> float:
    with SimulatedCluster(5, delays, seed=2, machine=Machine(1e10, np.inf, 0.0, 0.0)) as cluster:
        cluster.observers.append(recorder)
        for name in ("left", "right"):
            cluster.store(name, [np.ones((1, 1, 1))] * 5)
        for _ in range(rounds):
            cluster.run(ROUND, Fastest(k) if k < 5 else all_of(5))
        return cluster.seconds()


def test_a_replay_of_a_complete_trace_takes_the_same_time(tmp_path: Path) -> None:
    recorder = TraceRecorder()
    recorded_s = run("exp:mean=20ms", recorder, 5)
    recorder.save(tmp_path / "trace.csv")
    stream = DelayStream("exp:mean=20ms", 5, 2)
    np.testing.assert_allclose(read_trace(tmp_path / "trace.csv"), [stream.next_round() for _ in range(4)], rtol=1e-9)
    assert run(f"trace:{tmp_path / 'trace.csv'}", TraceRecorder(), 3) == pytest.approx(
        run("exp:mean=20ms", TraceRecorder(), 3)
    )
    assert run(f"trace:{tmp_path / 'trace.csv'}", TraceRecorder(), 5) == pytest.approx(recorded_s)


def test_a_replay_with_the_same_rule_takes_the_same_time_though_stragglers_were_dropped(tmp_path: Path) -> None:
    recorder = TraceRecorder()
    recorded_s = run("exp:mean=20ms", recorder, 3)
    recorder.save(tmp_path / "trace.csv")
    rows = (tmp_path / "trace.csv").read_text().splitlines()
    assert rows[0] == "worker,round,seconds,censored,start,slowness"
    assert sum(row.split(",")[3] == "1" for row in rows) == 4 * 2
    assert run(f"trace:{tmp_path / 'trace.csv'}", TraceRecorder(), 3) == pytest.approx(recorded_s)


def test_dead_workers_stay_dead_in_the_replay_and_the_unsent_live(tmp_path: Path) -> None:
    recorder = TraceRecorder()
    recorder(TaskEvent(0, "E", 0, "counted", 0.0, 1.0, 0.9, 0.1))
    recorder(TaskEvent(0, "E", 1, "lost", 0.0, None))
    recorder(TaskEvent(0, "E", 2, "unsent", None, None))
    recorder(TaskEvent(0, "E", 3, "counted", 0.0, 2.0, 1.9, 0.1))
    recorder.save(tmp_path / "trace.csv")
    assert "2,0,0.0,1,0.0,1.0" in (tmp_path / "trace.csv").read_text().splitlines()
    found = read_trace(tmp_path / "trace.csv")
    np.testing.assert_allclose(found[:, [0, 1, 3]], [[0.9, np.inf, 1.9]])
    assert found[0, 2] in found[0, [0, 3]]


def test_what_a_worker_drops_is_no_response_though_it_says_so(tmp_path: Path) -> None:
    """Worker 1 tells at 1.3 s that it dropped its task for the one that it was sent at 1.0 s: it took longer than that."""
    recorder = TraceRecorder()
    for index in range(2):
        recorder(TaskEvent(index, "E", 0, "counted", float(index), index + 1.0, 1.0, 0.0))
    recorder(TaskEvent(0, "E", 1, "superseded", 0.0, 1.3))
    recorder(TaskEvent(1, "E", 1, "unfinished", 1.0, None))
    recorder(TaskEvent(1, "E", 2, "late", 1.0, 2.5, 1.5, 0.0))
    recorder.save(tmp_path / "trace.csv")
    assert set((tmp_path / "trace.csv").read_text().split()[1:]) == {
        "0,0,1.0,0,1.0,1.0",
        "0,1,1.0,0,1.0,1.0",
        "1,0,1.0,1,1.0,1.0",
        "1,1,1.5,1,1.5,1.0",
        "2,1,1.5,0,1.5,1.0",
    }


@pytest.mark.slow
def test_local_workers_that_are_overtaken_are_recorded_as_slow(tmp_path: Path) -> None:
    """Two of four are 300 ms late in every round of some 20 ms; none of their tasks may come out as finished."""
    recorder = TraceRecorder()
    with LocalCluster(4, "slow:n=2,delay=300ms", seed=1) as cluster:
        cluster.observers.append(recorder)
        cluster.store("left", [np.ones((1, 1, 1))] * 4)
        payload = np.ones((1, 1, 1))
        task = Round("product", ("left",), [(payload,)] * 4, (), ((1, 1, 1),), label="E = D B")
        for _ in range(12):
            cluster.run(task, Fastest(2))
        cluster.run(task, all_of(4))
    recorder.save(tmp_path / "trace.csv")
    found = read_trace(tmp_path / "trace.csv")
    slow = np.median(found, axis=0) > 0.2
    assert slow.sum() == 2
    assert (found[:, slow] > 0.2).mean() > 0.9
    assert np.isfinite(found).all()


def test_the_timeline_has_a_row_per_worker_and_nested_spans(tmp_path: Path) -> None:
    recorder = TimelineRecorder()
    run("exp:mean=20ms", recorder, 3)
    recorder.save(tmp_path / "out.json")
    spans = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    assert {span["tid"] for span in spans} == set(range(5))
    tasks = [span for span in spans if "E = D B" in span["name"]]
    assert len(tasks) == 20
    assert {span["cat"] for span in tasks} == {"counted", "superseded", "unfinished"} | {s["cat"] for s in tasks}
    for span in spans:
        assert span["ph"] == "X"
        assert span["dur"] > 0
    for span in (s for s in spans if s["name"] in ("delayed", "computing")):
        outer = [t for t in tasks if t["tid"] == span["tid"] and t["args"] == span["args"]]
        assert outer[0]["ts"] <= span["ts"] + 1e-6
        assert span["ts"] + span["dur"] <= outer[0]["ts"] + outer[0]["dur"] + 1e-3


@pytest.mark.parametrize("recorder", [TraceRecorder(), TimelineRecorder()])
def test_an_unwritable_file_is_refused(tmp_path: Path, recorder: TraceRecorder | TimelineRecorder) -> None:
    with pytest.raises(CodedALSError, match="can be written"):
        recorder.save(tmp_path / "absent" / "file")
