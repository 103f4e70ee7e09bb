"""Rounds in seconds: when responses arrive from workers of a given speed behind one link, and when rounds end.

The master sends the payloads of a round to all workers at once, so that they share its link; each worker waits out its
delay, computes, and responds; the responses come back through the same link one after the other. Workers that share
fewer cores compute one after the other on them, first come, first served (`coded_als.worker.turns`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.backups import backed_waiting_s
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.rules import AnyOfEach, Fastest, counted_workers
from coded_als.cluster.seam import Round, StoppingRule
from coded_als.delays.models import slows
from coded_als.delays.streams import DelayStream, arrival_order
from coded_als.errors import DecodingError, NotEnoughWorkers


@dataclass(frozen=True)
class RoundCost:
    """The cost of one round to each worker: multiplications, and bytes of the message there and of the one back."""

    operations: float
    payload_bytes: float = 0.0
    response_bytes: float = 0.0

    @classmethod
    def of(cls, round: Round) -> RoundCost:
        return cls(round.operations, round.payload_bytes, round.response_bytes)

    def received_s(self, workers: int, machine: Machine) -> float:
        """Seconds until the payloads have reached the workers."""
        return machine.sending_s(workers, self.payload_bytes) + machine.latency_s

    def computed_s(self, delays: Array, machine: Machine, slowness: Array | None = None) -> Array:
        """Seconds from the start of each round until each worker has computed, of the shape of ``delays``: (T, W) or (W,).

        A delay is infinite for a worker that never responds; ``slowness``, of the same shape, multiplies its work.
        """
        ready = delays + self.received_s(delays.shape[-1], machine)
        work_s = machine.working_s(self.operations, np.ones(delays.shape[-1]) if slowness is None else slowness)
        if machine.cores is None or machine.cores >= delays.shape[-1]:
            return np.asarray(ready + work_s)
        rows = ready.reshape(-1, ready.shape[-1])
        return in_turn_s(rows, np.broadcast_to(work_s, ready.shape).reshape(rows.shape), machine.cores).reshape(
            ready.shape
        )

    def response_s(self, delays: Array, machine: Machine, slowness: Array | None = None) -> Array:
        """Seconds from the start of each round until each response is there, (T, W) or (W,) as ``delays`` are.

        The link serves first come, first served.
        """
        computed = self.computed_s(delays, machine, slowness) + machine.latency_s
        order = np.argsort(computed, axis=-1, kind="stable")
        sorted_s = np.take_along_axis(computed, order, axis=-1)
        steps = machine.sending_s(1, self.response_bytes) * np.arange(1, delays.shape[-1] + 1)
        # each is through when it and all before it are: the latest start of a busy spell plus the messages since
        through = np.maximum.accumulate(sorted_s - np.concatenate([[0.0], steps[:-1]]), axis=-1) + steps
        found = np.empty_like(through)
        np.put_along_axis(found, order, through, axis=-1)
        return found


def fastest_s(cost: RoundCost, delays: Array, machine: Machine, slowness: Array | None, k: int) -> Array:
    """Seconds until each of T rounds has its k-th response, (T,), as `RoundCost.response_s` and `Fastest` have it.

    It needs the times in their order and not whose they are, which is several times as fast for many workers.
    """
    if k > delays.shape[1]:
        return np.full(len(delays), np.inf)
    computed = cost.computed_s(delays, machine, slowness)
    sending_s = machine.sending_s(1, cost.response_bytes)
    if sending_s == 0:
        computed.partition(k - 1, axis=1)
        return np.asarray(computed[:, k - 1] + machine.latency_s)
    computed.sort(axis=1)
    waited_s = (computed[:, :k] - sending_s * np.arange(k)).max(axis=1)
    return np.asarray(waited_s + machine.latency_s + sending_s * k)


def in_turn_s(ready: Array, work_s: Array, cores: int) -> Array:
    """Seconds at which each of W computations ends, (T, W), when a few cores serve them first come, first served.

    ``ready`` and ``work_s``, (T, W), are the seconds at which each may begin and that it takes.
    """
    order = np.argsort(ready, axis=1, kind="stable")
    ends, work_s = (np.take_along_axis(array, order, axis=1) for array in (ready, work_s))
    rows, free = np.arange(len(ends)), np.full((len(ends), cores), -np.inf)
    for place in range(ends.shape[1]):
        core = free.argmin(axis=1)
        ends[:, place] = np.maximum(ends[:, place], free[rows, core]) + work_s[:, place]
        free[rows, core] = ends[:, place]
    found = np.empty_like(ends)
    np.put_along_axis(found, order, ends, axis=1)
    return found


def waiting_s(arrivals: Array, until: StoppingRule) -> Array:
    """Seconds until each of T rounds ends, (T,), from those at which responses arrive, (T, W); infinite where the rule is never met.

    `Fastest` and `AnyOfEach` are evaluated for all rounds at once.
    """
    if isinstance(until, Fastest):
        if until.k > arrivals.shape[1]:
            return np.full(len(arrivals), np.inf)
        kth: Array = np.partition(arrivals, until.k - 1, axis=1)[:, until.k - 1]
        return kth
    if isinstance(until, AnyOfEach):
        slowest: Array = np.stack([arrivals[:, sorted(group)].min(axis=1) for group in until.groups]).max(axis=0)
        return slowest
    return np.array([_waiting_s(row, until) for row in arrivals])


# Of all pieces of all workers and draws at once: 32 MB.
MOST_AT_ONCE = 2**22


def pieces_waiting_s(
    cost: RoundCost, delays: Array, machine: Machine, slowness: Array | None, until: EveryPiece
) -> Array:
    """Seconds until each of T rounds in pieces ends, (T,), from delays and slowness (T, W); infinite where none does.

    As `coded_als.cluster.piecewise.play` has it where the questions come in time: answers are read once the last needed piece
    is done. The rule counts answers and does not evaluate a code's error estimate.
    """
    if until.backups is not None:
        return _backed_s(cost, delays, machine, slowness, until)
    slower = np.ones_like(delays) if slowness is None else slowness
    piece_s = machine.working_s(cost.operations, slower) / until.layout.pieces
    begun_s = cost.computed_s(delays, machine, slower) - piece_s * until.layout.pieces
    workers, pieces = until.layout.places.shape
    # one message of each worker, or of each piece of a sum
    messages = until.needed * pieces if until.summed else workers
    answered = until.needed * pieces * until.answer_bytes(cost.response_bytes)
    reading_s = machine.latency_s + machine.sending_s(messages, answered / messages)
    ends_s, step = np.empty(len(delays)), max(1, MOST_AT_ONCE // (workers * pieces))
    for start in range(0, len(delays), step):
        rows = slice(start, start + step)
        done_s = begun_s[rows, :, np.newaxis] + (until.layout.places + 1) * piece_s[rows, :, np.newaxis]
        each_s = np.concatenate([waiting_s(done_s[:, :, piece], until.counted) for piece in range(pieces)])
        ends_s[rows] = each_s.reshape(pieces, -1).max(axis=0)
    return ends_s + reading_s


def _backed_s(cost: RoundCost, delays: Array, machine: Machine, slowness: Array | None, until: EveryPiece) -> Array:
    """Seconds until each of T rounds with second copies ends, (T,): tasks are halves of a share, and so are answers."""
    half = RoundCost(cost.operations / 2, cost.payload_bytes, cost.response_bytes / 2)
    slower = np.ones_like(delays) if slowness is None else slowness
    ask_s = machine.sending_s(1, 0.0) + machine.latency_s
    again_s = ask_s + machine.working_s(half.operations, slower) + machine.latency_s
    answer_s = machine.sending_s(1, half.response_bytes)
    assert until.backups is not None
    assert isinstance(until.rule, AnyOfEach)
    first_s = half.response_s(delays, machine, slowness)
    return backed_waiting_s(first_s, again_s + answer_s, until.rule.groups, until.layout, until.backups)


def _waiting_s(arrivals: Array, until: StoppingRule) -> float:
    try:
        return float(arrivals[counted_workers(arrival_order(arrivals), until)[-1]])
    except (NotEnoughWorkers, DecodingError):
        return np.inf


def round_seconds(
    stream: DelayStream, schedule: Sequence[tuple[RoundCost, StoppingRule]], machine: Machine, repeats: int
) -> Array:
    """Virtual seconds of each round of a repeated schedule, ``(repeats, len(schedule))``; nothing is computed."""
    seconds = np.empty((repeats, len(schedule)))
    # a block of rounds at a time, so that 10,000 workers x 1,000 rounds fit in memory
    block = max(1, 2**22 // max(1, stream.workers * len(schedule)))
    for start in range(0, repeats, block):
        stop = min(start + block, repeats)
        draws = [[stream.disturb(cost.operations) for cost, _ in schedule] for _ in range(start, stop)]
        for index, (cost, until) in enumerate(schedule):
            delays = np.array([draw[index].delays_s for draw in draws])
            slowness = np.array([draw[index].slowness for draw in draws]) if slows(stream.model) else None
            if isinstance(until, Fastest):
                seconds[start:stop, index] = fastest_s(cost, delays, machine, slowness, until.k)
            else:
                seconds[start:stop, index] = waiting_s(cost.response_s(delays, machine, slowness), until)
    return seconds
