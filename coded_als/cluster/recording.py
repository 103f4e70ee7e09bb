"""Observers that write a run down, on every cluster (``cluster.observers.append(recorder)``): its delays, or a timeline."""

from __future__ import annotations

import csv
import json
import statistics
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path
from typing import Any

from coded_als.cluster.seam import TaskEvent
from coded_als.errors import CodedALSError


class EventLog:
    """Collects every task's event, in the order in which they became known.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import EventLog
    >>> cluster, log = SimulatedCluster(4), EventLog()
    >>> cluster.observers.append(log)
    >>> _ = CodedALS(rank=2, code="uncoded").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> {event.worker for event in log.events}
    {0, 1, 2, 3}
    """

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []

    def __call__(self, event: TaskEvent) -> None:
        self.events.append(event)


# A computation shorter than this says more of the system's scheduler than of its worker's speed.
LEAST_WORK_S = 5e-3


class TraceRecorder(EventLog):
    """Writes the delays of a run as a CSV that the SPEC ``trace:FILE`` replays.

    Three things are written of a task: its arrival, the time from sending to receiving beyond the work that everybody had
    (the median computing time of the round's finished tasks); the start of its work, which is all of that time but its own
    computation; and its slowness, its own computing time over that median. A replay takes the start as a delay and the
    slowness as a factor of the work, which it pays for anew: so it is right at another number of partitions too. Where
    the work takes a few milliseconds at most, all of the arrival is a delay.

    A task that was dropped for a newer one, or was still open at the end, is written with its seconds until
    then and ``censored`` 1: a lower bound (`coded_als.delays.read_trace` describes how a replay uses
    it). A task that was never sent is written with 0 seconds and ``censored`` 1: nothing is known of its delay.
    Tasks of workers that died have no row: in a replay they never respond.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import TraceRecorder
    >>> cluster, recorder = SimulatedCluster(4, "exp:mean=20ms"), TraceRecorder()
    >>> cluster.observers.append(recorder)
    >>> _ = CodedALS(rank=2, code="uncoded").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> recorder.save(Path("delays.csv"))
    >>> replay = SimulatedCluster(4, "trace:delays.csv")
    """

    def save(self, path: Path) -> None:
        """Write ``worker,round,seconds,censored,start,slowness``.

        Raises
        ------
        CodedALSError
            When the file cannot be written.
        """
        rounds: dict[int, list[TaskEvent]] = defaultdict(list)
        for event in self.events:
            rounds[event.round_index].append(event)
        ends_s, sent_s = self._ends_s(), self._sent_s()
        rows = [row for index in sorted(rounds) for row in _round_rows(rounds[index], sent_s, ends_s)]
        try:
            with path.open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("worker", "round", "seconds", "censored", "start", "slowness"))
                writer.writerows(rows)
        except OSError as error:
            raise unwritable(path, error) from None

    def _sent_s(self) -> dict[int, list[float]]:
        """Seconds at which each worker was sent tasks, in order."""
        sent: dict[int, list[float]] = defaultdict(list)
        for event in self.events:
            if event.sent_s is not None:
                sent[event.worker].append(event.sent_s)
        return {worker: sorted(times) for worker, times in sent.items()}

    def _ends_s(self) -> float:
        """The last moment that any event speaks of."""
        return max((e.received_s or e.sent_s or 0.0 for e in self.events), default=0.0)


def _round_rows(
    events: list[TaskEvent], sent_s: dict[int, list[float]], ends_s: float
) -> list[tuple[int, int, float, int, float, float]]:
    computed = [event.computed_s for event in events if event.status == "counted"]
    typical_s = statistics.median(computed) if computed else 0.0
    rows = []
    for event in sorted(events, key=lambda event: event.worker):
        if event.status == "unsent":
            rows.append((event.worker, event.round_index, 0.0, 1, 0.0, 1.0))
        elif event.sent_s is not None and event.status != "lost":
            # a worker that drops a task reports it, which is no response
            censored = event.status in ("superseded", "unfinished") or event.received_s is None
            ended_s = _open_until_s(event, sent_s[event.worker], ends_s) if censored else event.received_s
            taken_s = (ended_s or event.sent_s) - event.sent_s
            beyond_s = max(0.0, taken_s - typical_s)
            slowness = 1.0 if censored or typical_s < LEAST_WORK_S else event.computed_s / typical_s
            start_s = beyond_s if slowness == 1.0 else max(0.0, taken_s - event.computed_s)
            rows.append((event.worker, event.round_index, beyond_s, int(censored), start_s, slowness))
    return rows


def _open_until_s(event: TaskEvent, sent_s: list[float], ends_s: float) -> float:
    """Until when a task without a response can be said to have had none: till the next was sent, or to the end of the run."""
    place = bisect_right(sent_s, event.sent_s or 0.0)
    return sent_s[place] if place < len(sent_s) else ends_s


def unwritable(path: Path, error: OSError) -> CodedALSError:
    """The error of a recording that cannot be written."""
    return CodedALSError(
        f"the recording must go to a file that can be written; got {path}: {error.strerror}. Choose another."
    )


class TimelineRecorder(EventLog):
    """Writes a run in the Chrome trace format, for Perfetto or ``chrome://tracing``: one row per worker.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import TimelineRecorder
    >>> cluster, recorder = SimulatedCluster(4, "exp:mean=20ms"), TimelineRecorder()
    >>> cluster.observers.append(recorder)
    >>> _ = CodedALS(rank=2).fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> recorder.save(Path("timeline.json"))  # for Perfetto
    """

    def save(self, path: Path) -> None:
        """Write the JSON document.

        Raises
        ------
        CodedALSError
            When the file cannot be written.
        """
        document = {"traceEvents": [span for event in self.events for span in _spans(event)], "displayTimeUnit": "ms"}
        try:
            path.write_text(json.dumps(document) + "\n")
        except OSError as error:
            raise unwritable(path, error) from None


def _spans(event: TaskEvent) -> list[dict[str, Any]]:
    """The task, and inside it the injected delay and the computation that ends as the response leaves."""
    if event.sent_s is None:
        return []
    busy_s = event.waited_s + event.computed_s
    taken_s = busy_s if event.received_s is None else event.received_s - event.sent_s
    lead_s = (taken_s - busy_s) / 2
    delayed_s = event.sent_s + max(0.0, lead_s)
    parts = [
        (f"{event.label} ({event.status})", event.sent_s, taken_s),
        ("delayed", delayed_s, event.waited_s),
        ("computing", delayed_s + event.waited_s, event.computed_s),
    ]
    arguments: dict[str, Any] = {"round": event.round_index, "status": event.status}
    if event.pieces is not None:
        arguments["pieces"] = event.pieces
    return [
        {"name": name, "cat": event.status, "ph": "X", "pid": 0, "tid": event.worker}
        | {"ts": start_s * 1e6, "dur": duration_s * 1e6, "args": arguments}
        for name, start_s, duration_s in parts
        if duration_s > 0
    ]
