"""The status of a running fit or sweep: from its callbacks, and from the events of the tasks of its workers."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

import numpy as np

from coded_als.als import CodedALS, CodedIteration
from coded_als.cluster import Cluster, TaskEvent
from coded_als.experiments.live.monitoring import Figure, RoundClock
from coded_als.experiments.live.view import Line, View, duration
from coded_als.experiments.sweep.grids import Cell
from coded_als.experiments.sweep.rows import SweepRow, mean_seconds
from coded_als.master.events import WorkerEvent
from coded_als.master.zeromq import ZmqCluster

# rounds of each worker that are shown, and iterations that the speed of convergence is taken from
RECENT, BEHIND_THE_RATE = 30, 8
FIT_HEADINGS = ("worker", "state", "behind", "counted", "dropped", "mean response", "last rounds")
LAST_CELLS = 30
# columns, in front those that a narrow page shows; drawn times alone have no decoding error
SWEEP_HEADINGS = ("cell", "status", "seconds, or why not", "workers", "dead", "delays", "iterations", "decoding error")


@dataclass
class _Worker:
    """The record of one worker."""

    counted: int = 0
    dropped: int = 0
    lost: bool = False
    last_round: int = -1
    seconds: float = 0.0
    letters: dict[int, str] = field(default_factory=dict)

    def note(self, event: TaskEvent) -> None:
        if event.status == "counted":
            self.counted += 1
            self.last_round = max(self.last_round, event.round_index)
            if event.sent_s is not None and event.received_s is not None:
                self.seconds += event.received_s - event.sent_s
        else:
            self.dropped += 1
        self.lost = event.status == "lost"
        self.letters[event.round_index] = {"counted": "+", "lost": "!"}.get(event.status, "x")
        while len(self.letters) > RECENT:
            del self.letters[min(self.letters)]

    def line(self, number: int, current: int) -> Line:
        behind = current - self.last_round
        state = "lost" if self.lost else "late" if behind > 0 else "in time"
        mean = f"{1e3 * self.seconds / self.counted:.1f} ms" if self.counted else ""
        rounds = "".join(self.letters.get(index, ".") for index in range(max(0, current - RECENT + 1), current + 1))
        return Line((str(number), state, str(behind), str(self.counted), str(self.dropped), mean), state, rounds)


class FitStatus:
    """Observer of a cluster and callback of a fit; any thread may ask for its `view`.

    Parameters
    ----------
    title
        Name of the fit.
    workers
        W.
    tolerance, iterations
        Where the fit ends: at this relative distance from the optimum, or after so many iterations.
    seconds
        The cluster's clock.
    clock
        ``"wall"`` or ``"virtual"``: the clock that measured the seconds.
    """

    def __init__(
        self, title: str, workers: int, tolerance: float, iterations: int, seconds: Callable[[], float], clock: str
    ) -> None:
        self._title, self._tolerance, self._most = title, tolerance, iterations
        self._seconds, self._clock = seconds, clock
        self._workers = [_Worker() for _ in range(workers)]
        self._history: deque[CodedIteration] = deque(maxlen=BEHIND_THE_RATE)
        self._round, self._finished, self._lock = -1, False, threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._clock_of_rounds = RoundClock()
        self._bytes: Callable[[], Mapping[str, float]] = dict

    def watch(self, cluster: Cluster) -> None:
        """Observe a cluster: its tasks and, if it has them, its connections and the bytes that it sends."""
        cluster.observers.append(self.event)
        if isinstance(cluster, ZmqCluster):
            cluster.worker_observers.append(self.worker_event)
            self._bytes = lambda: {"sent": cluster.traffic[0], "received": cluster.traffic[1]}

    def event(self, event: TaskEvent) -> None:
        """Observe the end of a task."""
        with self._lock:
            self._workers[event.worker].note(event)
            self._statuses[event.status] += 1
            if event.status == "counted":
                self._round = max(self._round, event.round_index)
                if event.sent_s is not None and event.received_s is not None:
                    self._clock_of_rounds.note(event.round_index, event.sent_s, event.received_s)

    def worker_event(self, event: WorkerEvent) -> None:
        """Observe that a worker joins, or is lost."""
        with self._lock:
            if event.status in ("joined", "lost"):
                self._workers[event.worker].lost = event.status == "lost"

    def iteration(self, entry: CodedIteration) -> None:
        """Take note of an iteration: the callback of ``fit``."""
        with self._lock:
            self._history.append(entry)

    def finish(self) -> None:
        """The fit has ended."""
        with self._lock:
            self._finished = True

    def figures(self) -> list[Figure]:
        """The state now in numbers."""
        with self._lock:
            late = sum(not one.lost and one.last_round < self._round for one in self._workers)
            lost = sum(one.lost for one in self._workers)
            waited_s = self._clock_of_rounds.waited_s
            figures = [
                Figure.of("finished", "Whether the fit has ended.", self._finished),
                Figure.of("rounds_total", "Rounds that have ended.", self._round + 1, "counter"),
                Figure.of(
                    "round_seconds_total", "Seconds of rounds, to their last response used.", waited_s, "counter"
                ),
                Figure("tasks_total", "Tasks by their outcome.", dict(self._statuses), "counter", "status"),
                Figure.of("workers", "Workers of the cluster.", len(self._workers)),
                Figure.of("workers_alive", "Workers that are not lost.", len(self._workers) - lost),
                Figure.of("stragglers", "Workers without a response used in the last round.", late),
                self._by_worker("worker_up", "Whether a worker is not lost.", lambda worker: not worker.lost, "gauge"),
                self._by_worker("worker_responses_total", "Responses used of a worker.", attrgetter("counted")),
                self._by_worker(
                    "worker_seconds_total", "Seconds until these responses arrived.", attrgetter("seconds")
                ),
                Figure("bytes_total", "Bytes over the network.", dict(self._bytes()), "counter", "direction"),
            ]
            if self._history:
                last = self._history[-1]
                figures += [
                    Figure.of("iteration", "Number of the last iteration.", last.index),
                    Figure.of("objective", "Objective after it.", last.objective),
                    Figure.of("bound", "Relative distance from the optimum, at most.", last.remaining),
                    Figure.of("decoding_error", "Estimated relative error of decoding.", last.error_estimate),
                ]
            return figures

    def _by_worker(
        self, name: str, help: str, of: Callable[[_Worker], float], kind: Literal["gauge", "counter"] = "counter"
    ) -> Figure:
        return Figure(name, help, {str(number): of(one) for number, one in enumerate(self._workers)}, kind, "worker")

    def view(self) -> View:
        """The state now."""
        with self._lock:
            lines = tuple(worker.line(number, self._round) for number, worker in enumerate(self._workers))
            return View(self._title, self._facts(lines), FIT_HEADINGS, lines, self._fraction(), self._finished)

    def _facts(self, lines: Sequence[Line]) -> tuple[tuple[str, str], ...]:
        late = sum(line.state == "late" for line in lines)
        lost = sum(line.state == "lost" for line in lines)
        left = 0.0 if self._finished else seconds_left(self._history, self._tolerance, self._most)
        facts = [
            ("rounds", str(self._round + 1)),
            ("workers", f"{len(lines) - late - lost} in time, {late} late, {lost} lost"),
            (f"{self._clock} seconds", f"{self._seconds():.2f}"),
            ("time left", "none: it has ended" if self._finished else duration(left)),
        ]
        if self._history:
            last = self._history[-1]
            facts[:0] = [
                ("iteration", f"{last.index} of at most {self._most}"),
                ("objective", f"{last.objective:.10g}"),
                ("within", f"{last.remaining:.1e} of the optimum; ends at {self._tolerance:.0e}"),
                ("estimated decoding error", f"{last.error_estimate:.0e}"),
            ]
        return tuple(facts)

    def _fraction(self) -> float | None:
        """Done and left, in iterations."""
        if self._finished:
            return 1.0
        left = iterations_left(self._history, self._tolerance, self._most)
        return None if left is None else self._history[-1].index / (self._history[-1].index + left)


@contextmanager
def watched(model: CodedALS, shape: tuple[int, int], cluster: Cluster) -> Iterator[FitStatus]:
    """The status of a fit on a cluster while the block runs; give its ``iteration`` to ``fit`` as the callback.

    Parameters
    ----------
    model
        The model that is fitted.
    shape
        Rows and columns of the matrix.
    cluster
        The cluster, with its workers.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.experiments.live import served, watched
    >>> model, ratings = CodedALS(rank=2), np.random.default_rng(0).standard_normal((30, 20))
    >>> with SimulatedCluster(4) as cluster, watched(model, ratings.shape, cluster) as status, served(status) as address:
    ...     _ = model.fit(ratings, cluster, callback=status.iteration)  # address/metrics is there for Prometheus
    """
    title = f"{shape[0]} x {shape[1]} matrix, rank {model.rank}, {cluster.size} workers"
    clock = "virtual" if cluster.virtual else "wall"
    status = FitStatus(title, cluster.size, model.tolerance, model.iterations, cluster.seconds, clock)
    status.watch(cluster)
    try:
        yield status
    finally:
        status.finish()


def iterations_left(history: Sequence[CodedIteration], tolerance: float, most: int) -> float | None:
    """Iterations until the fit ends, if it goes on converging as it did; None while that is unknown."""
    known = [entry for entry in history if 0 < entry.remaining < math.inf]
    if not history:
        return None
    allowed = float(most - history[-1].index)
    if len(known) < 2:
        return None
    slope = np.polyfit([entry.index for entry in known], [math.log(entry.remaining) for entry in known], 1)[0]
    distance = math.log(known[-1].remaining / tolerance) if tolerance > 0 else math.inf
    if distance <= 0:
        return 0.0
    return allowed if slope >= 0 else min(allowed, distance / -float(slope))


def seconds_left(history: Sequence[CodedIteration], tolerance: float, most: int) -> float | None:
    """Seconds until the fit ends, at the mean seconds of the last iterations; see `iterations_left`."""
    left = iterations_left(history, tolerance, most)
    if left is None:
        return None
    return left * sum(entry.seconds for entry in history) / len(history)


class SweepStatus:
    """Progress of `coded_als.experiments.sweep.runs.run_sweep`, for views from any thread.

    ``title``: name of the sweep; ``clock``: ``"wall"`` or ``"virtual"``: the clock that measured the seconds of the
    cells; ``now``: a clock in wall seconds.
    """

    def __init__(self, title: str, clock: str, now: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock, self._now, self._started = title, clock, now, now()
        self._known = self._done = self._total = 0
        self._counts: Counter[str] = Counter()
        self._rows: deque[SweepRow] = deque(maxlen=LAST_CELLS)
        self._finished, self._lock = False, threading.Lock()

    def tell(self, done: int, total: int, row: SweepRow | None = None) -> None:
        """Note that so many cells of so many have ended, the last with this row; without a row, in an earlier run."""
        with self._lock:
            self._done, self._total = done, total
            if row is None:
                self._known = done
                return
            self._counts[row["status"]] += 1
            self._rows.appendleft(row)

    def finish(self) -> None:
        """The sweep has ended."""
        with self._lock:
            self._finished = True

    def figures(self) -> list[Figure]:
        """The state now in numbers."""
        with self._lock:
            return [
                Figure.of("finished", "Whether the sweep has ended.", self._finished),
                Figure.of("cells", "Cells of the sweep.", self._total),
                Figure.of("cells_done", "Cells that have ended.", self._done),
                Figure("cells_total", "Cells of this run by their outcome.", dict(self._counts), "counter", "status"),
            ]

    def view(self) -> View:
        """The state now."""
        with self._lock:
            so_far, ran = self._now() - self._started, self._done - self._known
            left = so_far / ran * (self._total - self._done) if ran else None
            counts = ", ".join(f"{count} {status}" for status, count in self._counts.items()) or "none yet"
            facts = (
                ("cells", f"{self._done} of {self._total}, {self._known} of them from an earlier run"),
                ("of this run", counts),
                ("so far", duration(so_far)),
                ("time left", "none: it has ended" if self._finished else duration(left)),
            )
            lines = [self._line(row) for row in self._rows]
            shown = len(SWEEP_HEADINGS) if any(line.cells[-1] for line in lines) else len(SWEEP_HEADINGS) - 1
            cut = tuple(Line(line.cells[:shown], line.state) for line in lines)
            fraction = self._done / self._total if self._total else None
            return View(self._title, facts, SWEEP_HEADINGS[:shown], cut, fraction, self._finished)

    def _line(self, row: SweepRow) -> Line:
        cell, worst = Cell.of(row["cell"]), row.get("largest_decoding_error_estimate")
        found = (
            f"{mean_seconds(row, self._clock):.4g} {self._clock}" if row["status"] == "done" else row["reason"] or ""
        )
        cells = (
            cell.scheme.label,
            row["status"],
            found,
            str(cell.scheme.workers),
            str(cell.stragglers),
            cell.delays,
            str(row.get("iterations", "")),
            "" if worst is None else f"{worst:.0e}",
        )
        return Line(cells, {"done": "in time", "infeasible": "late"}.get(row["status"], "lost"))
