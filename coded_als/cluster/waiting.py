"""Seconds until rounds end, from when responses arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import AnyOfEach, Fastest, StoppingRule
from coded_als.cluster.inline import counted_workers
from coded_als.cluster.machine import Machine, RoundCost
from coded_als.delays import DelayStream, arrival_order
from coded_als.errors import DecodingError, NotEnoughWorkers


def waiting_s(arrivals: Array, until: StoppingRule) -> Array:
    """Seconds until each of T rounds ends.

    Parameters
    ----------
    arrivals
        Seconds at which the workers' responses arrive, (T, W).
    until
        Any rule; `Fastest` and `AnyOfEach` are evaluated for all rounds at once.

    Returns
    -------
    (T,) seconds; infinite where the rule cannot be met.
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


def _waiting_s(arrivals: Array, until: StoppingRule) -> float:
    try:
        return float(arrivals[counted_workers(arrival_order(arrivals), until)[-1]])
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
            seconds[start:stop, index] = waiting_s(cost.response_s(delays, machine), until)
    return seconds
