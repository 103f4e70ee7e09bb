"""The virtual clock: a cluster whose numerics are real and whose time is drawn.

A round costs a worker its delay, its multiplications and its messages. Every worker starts on a new
round at once, since real workers drop a superseded task (`coded_als.worker`): rounds are independent, and
a round takes what its stopping rule's last needed worker takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from coded_als.cluster import AnyOfEach, Fastest, Observer, Responses, Round, Status, StoppingRule, TaskEvent
from coded_als.cluster.inline import HeldArrays, counted_workers, newly
from coded_als.delays import DelayStream, arrival_order
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError
from coded_als.kernels import Array, Stored


@dataclass(frozen=True)
class Machine:
    """How fast one worker and its link are.

    Parameters
    ----------
    multiplications_per_second
        Multiplications with an addition each; one core of a laptop does some 1e10 in matrix products.
    bytes_per_second
        Of a worker's own link, both ways.
    latency_s
        Seconds that any message takes besides.
    """

    multiplications_per_second: float = 1e10
    bytes_per_second: float = 1e9
    latency_s: float = 1e-4

    def __post_init__(self) -> None:
        if not (self.multiplications_per_second > 0 and self.bytes_per_second > 0 and 0 <= self.latency_s < math.inf):
            raise UsageError(f"speeds must be above 0, latency_s at least 0 and finite; got {self}. Correct them.")

    def message_s(self, message_bytes: float) -> float:
        """Seconds from one end of the link to the other."""
        return self.latency_s + message_bytes / self.bytes_per_second

    def computing_s(self, operations: float) -> float:
        """Seconds of undisturbed work."""
        return operations / self.multiplications_per_second


@dataclass(frozen=True)
class RoundCost:
    """What one round asks of each worker."""

    operations: float
    payload_bytes: float = 0.0
    response_bytes: float = 0.0

    @classmethod
    def of(cls, round: Round) -> RoundCost:
        return cls(round.operations, round.payload_bytes, round.response_bytes)

    def undisturbed_s(self, machine: Machine) -> float:
        """Seconds from sending the payload to having the response, without any delay."""
        return (
            machine.message_s(self.payload_bytes)
            + machine.computing_s(self.operations)
            + machine.message_s(self.response_bytes)
        )


def waiting_s(delays: Array, until: StoppingRule) -> Array:
    """Delay that each of T rounds waits out.

    Parameters
    ----------
    delays
        The workers' delays, (T, W).
    until
        Any rule; `Fastest` and `AnyOfEach` are evaluated for all rounds at once.

    Returns
    -------
    (T,) seconds; infinite where the rule cannot be met.
    """
    if isinstance(until, Fastest):
        if until.k > delays.shape[1]:
            return np.full(len(delays), np.inf)
        kth: Array = np.partition(delays, until.k - 1, axis=1)[:, until.k - 1]
        return kth
    if isinstance(until, AnyOfEach):
        slowest: Array = np.max([delays[:, sorted(group)].min(axis=1) for group in until.groups], axis=0)
        return slowest
    return np.array([_waiting_s(row, until) for row in delays])


def _waiting_s(delays: Array, until: StoppingRule) -> float:
    try:
        return float(delays[counted_workers(arrival_order(delays), until)[-1]])
    except (NotEnoughWorkers, DecodingError):
        return np.inf


def round_seconds(
    stream: DelayStream, schedule: Sequence[tuple[RoundCost, StoppingRule]], machine: Machine, repeats: int
) -> Array:
    """Virtual seconds of each round of a repeated schedule, ``(repeats, len(schedule))``; nothing is computed.

    Parameters
    ----------
    stream
        Draws the delays.
    schedule
        Cost and stopping rule of each round, in order.
    machine
        Speed and bandwidth of the workers.
    repeats
        How often the schedule is run.
    """
    seconds = np.empty((repeats, len(schedule)))
    # a block of rounds at a time, so that 10,000 workers x 1,000 rounds fit in memory
    block = max(1, 2**22 // max(1, stream.workers * len(schedule)))
    for start in range(0, repeats, block):
        stop = min(start + block, repeats)
        draws = [[stream.next_round(cost.operations) for cost, _ in schedule] for _ in range(start, stop)]
        for index, (cost, until) in enumerate(schedule):
            delays = np.array([draw[index] for draw in draws])
            seconds[start:stop, index] = waiting_s(delays, until) + cost.undisturbed_s(machine)
    return seconds


@dataclass(frozen=True)
class _SentRound:
    """A round whose unused tasks are still open."""

    index: int
    label: str
    sent_s: float
    cost: RoundCost
    delays: Array
    settled: frozenset[int]


class SimulatedCluster:
    """W workers on a virtual clock: thousands fit on a laptop, and no second is waited.

    Kernels run only for the responses that a round uses, so the factors are those of a real cluster. The
    master's own work takes no virtual time.

    Parameters
    ----------
    workers
        Number of workers W.
    delays
        A delay SPEC (`coded_als.delays.parse_delays`); equal seeds give a `LocalCluster` the same delays.
    seed
        Seed of the delays.
    multiplications_per_second, bytes_per_second, latency_s
        See `Machine`.
    """

    virtual = True

    def __init__(
        self,
        workers: int,
        delays: str = "none",
        seed: int = 0,
        multiplications_per_second: float = 1e10,
        bytes_per_second: float = 1e9,
        latency_s: float = 1e-4,
    ) -> None:
        self._delays = DelayStream(delays, workers, seed)
        self.size = workers
        self.observers: list[Observer] = []
        self._machine = Machine(multiplications_per_second, bytes_per_second, latency_s)
        self._arrays = HeldArrays(workers)
        self._round_index = 0
        self._now_s = 0.0
        self._open: _SentRound | None = None

    def seconds(self) -> float:
        return self._now_s

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        self._arrays.store(name, shares)

    def drop(self, names: Iterable[str]) -> None:
        self._arrays.drop(names)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        cost = RoundCost.of(round)
        self._settle_open(self._now_s + self._machine.message_s(cost.payload_bytes))
        self._arrays.receive(round)
        delays = self._delays.next_round(round.operations)
        left_out: dict[int, Status] = {}
        results: dict[int, tuple[Array, ...]] = {}
        sent_s, elapsed_s = self._now_s, 0.0
        try:
            results = self._arrays.gather(round, arrival_order(delays), until, left_out)
        finally:
            told: dict[int, Status] = {**dict.fromkeys(results, "counted"), **newly(left_out, round)}
            if told:
                # the last response that counts ends a round; in one that fails, the last that does not count
                last = [*(results or told)][-1]
                elapsed_s = float(delays[last]) + cost.undisturbed_s(self._machine)
                self._now_s += elapsed_s
                settled = frozenset(told) | round.excluded
                self._open = _SentRound(self._round_index, round.label, sent_s, cost, delays, settled)
                for worker, status in told.items():
                    self._report(self._open, worker, status)
            self._round_index += 1
        return Responses(tuple(results), results, elapsed_s, tuple(newly(left_out, round)))

    def close(self) -> None:
        self._settle_open(None)
        self._arrays.clear()

    def __enter__(self) -> SimulatedCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _settle_open(self, newer_arrives_s: float | None) -> None:
        """Say what became of the last round's unused tasks: the next one pre-empts those that still run."""
        sent, self._open = self._open, None
        if sent is None or not self.observers:
            return
        for worker in range(self.size):
            if worker in sent.settled:
                continue
            finished_s = sent.sent_s + self._finishes_after_s(sent, worker)
            if finished_s <= (self._now_s if newer_arrives_s is None else newer_arrives_s):
                self._report(sent, worker, "late")
            elif newer_arrives_s is None:
                self._report(sent, worker, "unfinished", stopped_s=self._now_s)
            else:
                self._report(sent, worker, "superseded", stopped_s=newer_arrives_s)

    def _finishes_after_s(self, sent: _SentRound, worker: int) -> float:
        """Seconds from sending to the end of the worker's computation."""
        machine, cost = self._machine, sent.cost
        delay = float(sent.delays[worker])
        return machine.message_s(cost.payload_bytes) + delay + machine.computing_s(cost.operations)

    def _report(self, sent: _SentRound, worker: int, status: Status, stopped_s: float | None = None) -> None:
        delay, computing_s = float(sent.delays[worker]), self._machine.computing_s(sent.cost.operations)
        received_s: float | None = None
        if stopped_s is None:
            response_s = self._machine.message_s(sent.cost.response_bytes)
            received_s = sent.sent_s + self._finishes_after_s(sent, worker) + response_s
        else:
            worked_s = max(0.0, stopped_s - sent.sent_s - self._machine.message_s(sent.cost.payload_bytes))
            delay, computing_s = min(delay, worked_s), max(0.0, min(computing_s, worked_s - delay))
        event = TaskEvent(sent.index, sent.label, worker, status, sent.sent_s, received_s, delay, computing_s)
        for observer in self.observers:
            observer(event)
