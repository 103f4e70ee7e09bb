"""Measure a cluster without a fit: the speed, the link and the latency of each worker, and its course over many rounds.

Each worker is probed alone: with a message of a few bytes, with a large one both ways, and with work. The least seconds of
several probes are those of an undisturbed worker. Then all workers compute together for many rounds, as in a fit: these
rounds are the trace, and show how often a worker is slow or late. They also show whether the workers hinder each other, as
several on a machine of few cores do: a plan then counts on the speed that a worker has among the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from coded_als.arrays import Array
from coded_als.checks import require_whole
from coded_als.cluster import Cluster, EnoughAndOverdue, Round, TaskEvent
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import LEAST_WORK_S, EventLog, TraceRecorder
from coded_als.errors import CodedALSError, NotEnoughWorkers, RoundTimeout

# Numbers of the large message, sent in rows of so many, and the probes of each kind.
LARGE, ECHO_ROWS = 131_072, 8
PROBES = 9
# The matrix of each worker, to begin with; the seconds that a product should take, by which a recording tells speeds from
# delays; and how far the matrix is enlarged for that: to some 90 MB.
SHARE, WORK_S, MOST_GROWTH = (1200, 1000), 15e-3, 3.0
# A link that seems faster is memory that both sides share, or noise.
FASTEST_LINK = 1e10
# Differences that are told: a speed, a link or a latency that is so many times worse than the median ...
SLOWER, NARROWER, LATER = 1.25, 2.0, 2.0
# ... and at least so many seconds of a delay.
LEAST_LATE_S = 2e-3
# A worker is slow or late at times if it is so in this share of the rounds, and always in that one.
AT_TIMES, ALWAYS = 0.05, 0.9


@dataclass(frozen=True)
class MeasuredWorker:
    """Findings about one worker."""

    # its number, and its network address if it has one
    worker: int
    address: str
    multiplications_per_second: float  # speed of its products, undisturbed
    bytes_per_second: float  # speed of its link, both ways
    latency_s: float  # least seconds of a message of a few bytes to it and back
    undisturbed_s: float  # least seconds of its product
    computing_s: tuple[float, ...]  # seconds of its product in each of the common rounds that it answered
    waiting_s: tuple[float, ...]  # all other seconds of these rounds
    missed: int  # number of common rounds that it did not answer in time

    @property
    def slowness(self) -> Array:
        """Computing time in each common round, relative to that of the worker when it is undisturbed."""
        return np.array(self.computing_s) / self.undisturbed_s

    def row(self, typical: Machine) -> dict[str, Any]:
        """The figures as a row of a table, among workers of this typical speed."""
        waiting, computing = (np.array(seconds or (np.nan,)) for seconds in (self.waiting_s, self.computing_s))
        return {
            "worker": self.worker,
            "address": self.address,
            "multiplications_per_second": self.multiplications_per_second,
            "times_slower": typical.multiplications_per_second / self.multiplications_per_second,
            "bytes_per_second": self.bytes_per_second,
            "latency_seconds": self.latency_s,
            "waiting_seconds_median": float(np.median(waiting)),
            "waiting_seconds_95": float(np.quantile(waiting, 0.95)),
            "computing_seconds_median": float(np.median(computing)),
            "computing_seconds_95": float(np.quantile(computing, 0.95)),
            "missed": self.missed,
        }


@dataclass(frozen=True)
class Measurement:
    """A measured cluster."""

    workers: tuple[MeasuredWorker, ...]  # the workers that answered
    silent: tuple[int, ...]  # numbers of the workers that did not answer
    machine: Machine  # the typical worker when it is undisturbed, and the master's link
    rounds: int  # number of common rounds
    _log: EventLog = field(repr=False)
    _parts: int = 1  # rounds of the cluster for each common one

    @property
    def trace(self) -> TraceRecorder:
        """The common rounds as a recording; complete once the cluster is closed."""
        events = [event for event in self._log.events if event.label == TOGETHER]
        first = min((event.round_index for event in events), default=0)
        recorder = TraceRecorder()
        recorder.events = [replace(event, round_index=(event.round_index - first) // self._parts) for event in events]
        return recorder

    @property
    def times_slower_together(self) -> float:
        """The median computing time of the common rounds over that of the probes alone; at least 1, and 1 for short work."""
        together_s = [float(np.median(worker.computing_s)) for worker in self.workers if worker.computing_s]
        alone_s = float(np.median([worker.undisturbed_s for worker in self.workers]))
        if not together_s or alone_s < LEAST_WORK_S:
            return 1.0
        return max(1.0, float(np.median(together_s)) / alone_s)

    @property
    def machine_together(self) -> Machine:
        """The machine of a plan: all workers of a round compute together, so the speed is that of the common rounds.

        The trace has the speed of each worker relative to the others of its round, and thus not what slows all of them.
        """
        factor = self.times_slower_together
        if factor < SLOWER:
            return self.machine
        speed = self.machine.multiplications_per_second / factor
        return replace(self.machine, multiplications_per_second=speed)

    def findings(self) -> list[str]:
        """The differences between the workers in words, one sentence each; empty for workers that are alike."""
        told = [f"Worker {worker} does not answer." for worker in self.silent]
        if self.times_slower_together >= SLOWER:
            told.append(
                f"A typical worker is {self.times_slower_together:.2g} times slower when all workers compute than in its "
                "fastest probe alone: the workers share cores, other programs use the cores, or the speed of the workers varies."
            )
        latency_s = float(np.median([worker.latency_s for worker in self.workers]))
        width = float(np.median([worker.bytes_per_second for worker in self.workers]))
        for worker in self.workers:
            name = f"Worker {worker.worker}" + (f" ({worker.address})" if worker.address else "")
            told += _about_speed(name, self._times_slower(worker), worker.slowness)
            if worker.bytes_per_second * NARROWER <= width:
                told.append(
                    f"The link of {name.replace('W', 'w', 1)} carries {_rate(worker.bytes_per_second)}, a typical one "
                    f"{_rate(width)}."
                )
            later_s = worker.latency_s - latency_s
            if later_s >= LEAST_LATE_S and worker.latency_s >= LATER * latency_s:
                told.append(f"{name} answers {1e3 * later_s:.3g} ms later than a typical worker, always.")
            told += _about_delays(name, np.array(worker.waiting_s))
            if worker.missed:
                told.append(f"{name} did not answer in {worker.missed} of {self.rounds} rounds.")
        return told

    def _times_slower(self, worker: MeasuredWorker) -> float:
        return self.machine.multiplications_per_second / worker.multiplications_per_second


def _about_speed(name: str, factor: float, slowness: Array) -> list[str]:
    """The sentences about a worker that computes more slowly than the others, always or at times."""
    told = []
    if factor >= SLOWER:
        share = float(np.mean(slowness >= 0.8)) if slowness.size else 1.0
        often = "always" if share >= ALWAYS else f"in {share:.0%} of the rounds"
        told.append(f"{name} is {factor:.2g} times slower, {often}.")
    slow = slowness[slowness >= 2 * max(1.0, float(np.median(slowness)))] if slowness.size else slowness
    if slow.size and slow.size >= AT_TIMES * slowness.size:
        told.append(
            f"{name} is {np.median(slow):.2g} times slower than usual in {slow.size / slowness.size:.0%} of the rounds."
        )
    return told


def _about_delays(name: str, waiting: Array) -> list[str]:
    """The sentence about a worker that answers late at times: after more than twice its usual time."""
    if not waiting.size:
        return []
    usual_s = float(np.quantile(waiting, 0.25))
    late = waiting[waiting >= 2 * usual_s + LEAST_LATE_S] - usual_s
    if not late.size or late.size < AT_TIMES * waiting.size:
        return []
    return [f"{name} answers {1e3 * np.median(late):.3g} ms later in {late.size / waiting.size:.0%} of the rounds."]


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:.3g} MB/s"


ALONE, TOGETHER = "measure alone", "measure together"


class _Prober:
    """Runs rounds of products on some workers of a cluster, and keeps the events."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.log = cluster, EventLog()
        self._payloads: dict[str, Array] = {}
        self._shapes: dict[str, tuple[int, int, int]] = {}
        self.operations = 0.0
        cluster.observers.append(self.log)
        self.give("tiny", 1, 1, 1)
        self.give("large", ECHO_ROWS, ECHO_ROWS, LARGE // ECHO_ROWS)

    def give(self, kind: str, rows: int, cols: int, width: int) -> None:
        """Give each worker a matrix to keep, to be multiplied by a block of so many columns."""
        self._payloads[kind], self._shapes[kind] = np.ones((1, cols, width)), (1, rows, width)
        self.operations = float(rows * cols * width)
        self.cluster.store(f"measure {kind}", [np.ones((1, rows, cols))] * self.cluster.size)

    def round(self, kind: str, asked: frozenset[int], awaited: frozenset[int] | None = None) -> list[TaskEvent]:
        """The responses that count of a round; fewer than asked for where workers do not answer in time."""
        everybody = frozenset(range(self.cluster.size))
        round = Round(
            "product",
            (f"measure {kind}",),
            [(self._payloads[kind],)] * self.cluster.size,
            (),
            (self._shapes[kind],),
            self.operations if kind == "work" else 0.0,
            label=ALONE if awaited is None else TOGETHER,
            excluded=everybody - asked,
        )
        awaited, mark = asked if awaited is None else awaited, len(self.log.events)
        with suppress(NotEnoughWorkers, RoundTimeout):
            self.cluster.run(round, EnoughAndOverdue(len(awaited), awaited))
        return [event for event in self.log.events[mark:] if event.status == "counted" and event.label == round.label]


def measure(
    cluster: Cluster, rounds: int = 50, share: tuple[int, int] | None = None, columns: int = 25, probes: int = PROBES
) -> Measurement:
    """Measure the workers of a cluster.

    Parameters
    ----------
    cluster
        The cluster; it may be used for other work afterwards.
    rounds
        Number of rounds that all workers compute together.
    share
        Rows and columns of the matrix of each worker; None for one that keeps a typical worker busy for some 15 ms.
    columns
        Columns of the block that it multiplies by.
    probes
        Number of probes of each worker alone.

    Returns
    -------
    Measurement
        The workers, one by one, and the trace of the common rounds.

    Raises
    ------
    CodedALSError
        When no worker answers.

    Examples
    --------
    >>> from coded_als.cluster.virtual import SimulatedCluster
    >>> with SimulatedCluster(4, "slowdown-always:factor=3,n=1") as cluster:
    ...     found = measure(cluster, rounds=10)
    >>> len([sentence for sentence in found.findings() if "is 3 times slower, always" in sentence])
    1
    """
    for name, value in {"rounds": rounds, "columns": columns, "probes": probes}.items():
        require_whole(name, value, 1)
    prober = _Prober(cluster)
    prober.give("work", *(share or SHARE), columns)
    if share is None:
        _grow(prober, columns)
    alone = _probe_alone(prober, probes)
    if not alone:
        raise CodedALSError("some worker must answer; none did. See the logs of the workers.")
    machine = _machine(prober, alone, probes)
    computing: dict[int, list[float]] = defaultdict(list)
    waiting: dict[int, list[float]] = defaultdict(list)
    everybody, awaited = frozenset(range(cluster.size)), frozenset(alone)
    groups = _groups(cluster)
    for _ in range(rounds):
        events = [event for group in groups for event in prober.round("work", group, awaited & group)]
        # a worker that misses a round is asked again, and waited for once it answers
        awaited = frozenset(event.worker for event in events) or awaited
        for event in events:
            computing[event.worker].append(event.computed_s)
            waiting[event.worker].append(_seconds(event) - event.computed_s)
    cluster.drop(["measure tiny", "measure large", "measure work"])
    addresses: dict[int, str] = getattr(cluster, "addresses", {})
    workers = tuple(
        MeasuredWorker(
            number,
            addresses.get(number, ""),
            prober.operations / of["work"],
            _rate_of(1, of["large"] - of["tiny"]),
            of["round trip"],
            of["work"],
            tuple(computing[number]),
            tuple(waiting[number]),
            rounds - len(computing[number]),
        )
        for number, of in sorted(alone.items())
    )
    return Measurement(workers, tuple(sorted(everybody - alone.keys())), machine, rounds, prober.log, len(groups))


def _groups(cluster: Cluster) -> list[frozenset[int]]:
    """The workers that compute together: all, or as many as they share cores, since a plan adds the waits for a core."""
    at_once = min(cluster.machine.cores or cluster.size, cluster.size)
    return [frozenset(range(cluster.size)[start : start + at_once]) for start in range(0, cluster.size, at_once)]


def _grow(prober: _Prober, columns: int) -> None:
    """Give larger matrices where the first ones take too few milliseconds to tell a speed from a delay."""
    found = _probe_alone(prober, 2, ("work",))
    typical_s = float(np.median([of["work"] for of in found.values()] or [WORK_S]))
    if typical_s < WORK_S:
        factor = min(MOST_GROWTH, (WORK_S / max(typical_s, 1e-9)) ** 0.5)
        prober.give("work", round(SHARE[0] * factor), round(SHARE[1] * factor), columns)


def _seconds(event: TaskEvent) -> float:
    """Seconds between the sending of a task and the arrival of its response."""
    assert event.sent_s is not None
    assert event.received_s is not None
    return event.received_s - event.sent_s


def _probe_alone(
    prober: _Prober, probes: int, kinds: Sequence[str] = ("tiny", "large", "work")
) -> dict[int, dict[str, float]]:
    """The least seconds of each worker that answers: of work, and of a small and a large message without any."""
    alone: dict[int, dict[str, float]] = {number: {} for number in range(prober.cluster.size)}
    # all workers in turn, so that a busy spell of the network or a machine does not fall on one alone
    for _ in range(probes):
        for number in list(alone):
            for kind in kinds:
                events = prober.round(kind, frozenset([number]))
                if not events:
                    alone.pop(number)
                    break
                [event] = events
                _note(alone[number], kind, event)
    return alone


def _note(of: dict[str, float], kind: str, event: TaskEvent) -> None:
    """Keep the least seconds of a kind of probe; those of a link are without the delays that are injected."""
    beyond_s = _seconds(event) - event.computed_s
    found = {"work": event.computed_s} if kind == "work" else {kind: beyond_s - event.waited_s}
    if kind == "tiny":
        found["round trip"] = beyond_s
    for name, seconds in found.items():
        of[name] = min(of.get(name, np.inf), seconds)


def _machine(prober: _Prober, alone: dict[int, dict[str, float]], probes: int) -> Machine:
    """The typical worker, and the master's link and messages, by rounds of few workers and of all.

    A round of W small messages each way takes ``2 W message_s + 2 latency_s``.
    """
    alike = _alike(alone)
    few_s = float(np.median([of["tiny"] for of in alone.values()]))
    small_s, large_s = (_least(prober, kind, alike, probes) for kind in ("tiny", "large"))
    message_s = max(1e-6, (small_s - few_s) / (2 * (len(alike) - 1))) if len(alike) > 1 else 1e-6
    return Machine(
        multiplications_per_second=prober.operations / float(np.median([of["work"] for of in alone.values()])),
        bytes_per_second=_rate_of(len(alike), large_s - small_s),
        latency_s=max(1e-6, few_s / 2 - message_s),
        message_s=message_s,
        cores=prober.cluster.machine.cores,
    )


def _alike(alone: dict[int, dict[str, float]]) -> frozenset[int]:
    """The workers whose links are about as wide as most; a busy machine may give a large message less time than a small one."""
    typical_s = max(0.0, float(np.median([of["large"] - of["tiny"] for of in alone.values()])))
    return frozenset(number for number, of in alone.items() if of["large"] - of["tiny"] <= NARROWER * typical_s + 1e-3)


def _rate_of(workers: int, seconds: float) -> float:
    """Bytes per second of so many large messages both ways."""
    bytes_moved = 2 * 8 * LARGE * workers
    return bytes_moved / max(seconds, bytes_moved / FASTEST_LINK)


def _least(prober: _Prober, kind: str, among: frozenset[int], probes: int) -> float:
    """Least seconds from the first message of a round to the last response, without injected delays and work."""

    def taken_s(events: Sequence[TaskEvent]) -> Iterable[float]:
        begun_s = min(event.sent_s or 0.0 for event in events)
        return ((event.received_s or 0.0) - begun_s - event.waited_s - event.computed_s for event in events)

    rounds = (prober.round(kind, among) for _ in range(probes))
    return min((max(taken_s(events)) for events in rounds if events), default=0.0)
