"""Machines and rounds in seconds: what a round takes on workers of a given speed behind the master's link.

The master sends the payloads of a round to all workers at once, so that they share its link; each worker waits out its
delay, computes, and responds; the responses come back through the same link one after the other. Workers that share
fewer cores compute one after the other on them, first come, first served (`coded_als.worker.turns`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array
from coded_als.checks import require_whole
from coded_als.cluster.seam import Cluster, Round
from coded_als.delays import DelayModel
from coded_als.errors import UsageError


@dataclass(frozen=True)
class Machine:
    """How fast the master, one worker and the link between them are.

    Parameters
    ----------
    multiplications_per_second
        Multiplications with an addition each, of one worker and of the master; one core of a laptop does some 1e10 in
        matrix products.
    bytes_per_second
        Of the master's link, which all messages of a round share.
    latency_s
        Seconds that any message takes besides.
    message_s
        Seconds that the master itself spends on each message, whatever its size.
    cores
        Cores that the workers share; None: each has its own.
    """

    multiplications_per_second: float = 1e10
    bytes_per_second: float = 1e9
    latency_s: float = 1e-4
    message_s: float = 5e-5
    cores: int | None = None

    def __post_init__(self) -> None:
        seconds = (self.latency_s, self.message_s)
        if not (
            self.multiplications_per_second > 0
            and self.bytes_per_second > 0
            and all(0 <= value < math.inf for value in seconds)
        ):
            raise UsageError(
                f"speeds must be above 0, latency_s and message_s at least 0 and finite; got {self}. Correct them."
            )
        if self.cores is not None:
            require_whole("cores", self.cores, 1)

    def sending_s(self, messages: int, message_bytes: float) -> float:
        """Seconds until the last of so many messages of this size has left the master, or reached it.

        Parameters
        ----------
        messages
            How many.
        message_bytes
            Bytes of each.
        """
        return messages * (self.message_s + message_bytes / self.bytes_per_second)

    def computing_s(self, operations: float) -> float:
        """Seconds of undisturbed work."""
        return operations / self.multiplications_per_second


def machine_of(cluster: Cluster) -> Machine:
    """The machine that a cluster says it runs on, as ``cluster.machine``, or a common one."""
    machine: Machine = getattr(cluster, "machine", Machine())
    return machine


def delays_of(cluster: Cluster) -> DelayModel | None:
    """The delays that a cluster says it meets, as ``cluster.delays``; None where they are not known."""
    delays: DelayModel | None = getattr(cluster, "delays", None)
    return delays


@dataclass(frozen=True)
class RoundCost:
    """What one round asks of each worker: multiplications, and bytes of the message there and of the one back."""

    operations: float
    payload_bytes: float = 0.0
    response_bytes: float = 0.0

    @classmethod
    def of(cls, round: Round) -> RoundCost:
        return cls(round.operations, round.payload_bytes, round.response_bytes)

    def received_s(self, workers: int, machine: Machine) -> float:
        """Seconds until the payloads have reached the workers.

        Parameters
        ----------
        workers
            W.
        machine
            Master, workers and the link between them.
        """
        return machine.sending_s(workers, self.payload_bytes) + machine.latency_s

    def computed_s(self, delays: Array, machine: Machine) -> Array:
        """Seconds from the start of each round until each worker has computed.

        Parameters
        ----------
        delays
            The workers' delays, (T, W) or (W,); infinite for one that never responds.
        machine
            Who computes.

        Returns
        -------
        Of the shape of ``delays``.
        """
        ready = delays + self.received_s(delays.shape[-1], machine)
        work_s = machine.computing_s(self.operations)
        if machine.cores is None or machine.cores >= delays.shape[-1]:
            return np.asarray(ready + work_s)
        return in_turn_s(ready.reshape(-1, ready.shape[-1]), work_s, machine.cores).reshape(ready.shape)

    def response_s(self, delays: Array, machine: Machine) -> Array:
        """Seconds from the start of each round until each response is there, (T, W) or (W,) as ``delays`` are.

        Responses arrive in the order of the delays: whoever is ready first computes first, and the link serves the first first.

        Parameters
        ----------
        delays
            The workers' delays, (T, W) or (W,); infinite for one that never responds.
        machine
            Master, workers and the link between them.
        """
        computed = self.computed_s(delays, machine) + machine.latency_s
        order = np.argsort(delays, axis=-1, kind="stable")
        sorted_s = np.take_along_axis(computed, order, axis=-1)
        steps = machine.sending_s(1, self.response_bytes) * np.arange(1, delays.shape[-1] + 1)
        # each is through when it and all before it are: the latest start of a busy spell and what has come since
        through = np.maximum.accumulate(sorted_s - np.concatenate([[0.0], steps[:-1]]), axis=-1) + steps
        found = np.empty_like(through)
        np.put_along_axis(found, order, through, axis=-1)
        return found


def in_turn_s(ready: Array, work_s: float, cores: int) -> Array:
    """Seconds at which each of W equal computations ends when a few cores serve them in the order of their coming.

    Parameters
    ----------
    ready
        Seconds at which each may begin, (T, W).
    work_s
        Seconds that each takes.
    cores
        How many compute at a time.

    Returns
    -------
    (T, W)
    """
    order = np.argsort(ready, axis=1, kind="stable")
    ends = np.take_along_axis(ready, order, axis=1)
    for place in range(ends.shape[1]):
        # equal computations end in the order of their beginning: the core of the one so many places before is free next
        free = ends[:, place - cores] if place >= cores else -np.inf
        ends[:, place] = np.maximum(ends[:, place], free) + work_s
    found = np.empty_like(ends)
    np.put_along_axis(found, order, ends, axis=1)
    return found
