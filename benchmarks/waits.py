"""Where the time of a round goes: what its processes computed, waited for a core, and what else had the cores."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from coded_als.cluster import Cluster, Responses, Round, StoppingRule, TaskEvent
from coded_als.cluster.scope import ProxyCluster
from coded_als.kernels import Stored

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
# of a line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal
_IDLE, _STEAL = (3, 4), 7


@dataclass(frozen=True)
class Spent:
    """Seconds up to some moment, or between two; those of whole cores in ticks of 10 ms, the others exact.

    Parameters
    ----------
    master, workers
        On a core, of all threads together.
    master_queued, workers_queued
        Ready to run, and waiting for a core.
    busy
        Of all cores, whoever had them.
    stolen
        Of all cores, for which this machine, itself a guest, did not run.
    collecting
        In the master's garbage collector.
    """

    master: float
    master_queued: float
    workers: float
    workers_queued: float
    busy: float
    stolen: float
    collecting: float

    def since(self, before: Spent) -> Spent:
        return Spent(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))

    @property
    def others(self) -> float:
        """Of all cores, by other processes and by the machine's host."""
        return max(0.0, self.busy - self.master - self.workers)


class Meter:
    """Reads what the kernel counts for this process, the master, and its workers."""

    def __init__(self, workers: Iterable[int]) -> None:
        self._master = list(map(_open, _threads(os.getpid())))
        self._workers = [_open(file) for process_id in workers for file in _threads(process_id)]
        self._stat = _open("/proc/stat")
        self._collecting = self._began = 0.0
        self._thread = threading.get_ident()
        gc.callbacks.append(self._note_collection)

    def read(self) -> Spent:
        fields = [int(field) for field in os.pread(self._stat, 256, 0).split(b"\n", 1)[0].split()[1:9]]
        busy = sum(ticks for place, ticks in enumerate(fields) if place not in _IDLE)
        master, workers = _scheduled(self._master), _scheduled(self._workers)
        return Spent(*master, *workers, busy * _TICK_S, fields[_STEAL] * _TICK_S, self._collecting)

    def close(self) -> None:
        gc.callbacks.remove(self._note_collection)
        for file in (*self._master, *self._workers, self._stat):
            os.close(file)

    def _note_collection(self, phase: str, _: object) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collecting += time.perf_counter() - self._began


def _threads(process_id: int) -> list[str]:
    folder = f"/proc/{process_id}/task"
    return [f"{folder}/{thread}/schedstat" for thread in os.listdir(folder)]


def _open(file: str) -> int:
    return os.open(file, os.O_RDONLY)


def _scheduled(files: list[int]) -> tuple[float, float]:
    """Seconds on a core and seconds in the queue for one, of the threads that are there."""
    on = queued = 0
    for file in files:
        with contextlib.suppress(ProcessLookupError):
            spent = os.pread(file, 64, 0).split()
            on, queued = on + int(spent[0]), queued + int(spent[1])
    return 1e-9 * on, 1e-9 * queued


@dataclass(frozen=True)
class Watched:
    """A round that was watched.

    Parameters
    ----------
    label
        What it computed.
    elapsed_s
        How long it took.
    spent
        What was spent meanwhile.
    slowest
        The response that ended it, as the master saw it.
    """

    label: str
    elapsed_s: float
    spent: Spent
    slowest: TaskEvent | None

    def cause(self, typical_s: float) -> str:
        """What at least half of its excess over a typical round was spent on.

        Parameters
        ----------
        typical_s
            What a round of its kind takes.
        """
        half, spent = (self.elapsed_s - typical_s) / 2, self.spent
        queued = max(spent.master_queued, spent.workers_queued)
        if spent.collecting >= half:
            return "the master's garbage collector"
        if spent.stolen >= half:
            return "the machine's host, which had the cores"
        # a queue for cores that nobody else had is of our own making
        if spent.others >= half and queued >= half:
            return "other processes, which had the cores"
        if spent.master >= half + typical_s:
            return "the master, which computed"
        if spent.workers >= half + typical_s:
            return "the workers, which computed"
        return "a queue for cores among ourselves" if queued >= half else "nothing that was found"

    def __str__(self) -> str:
        spent = self.spent
        last = self.slowest
        response = (
            f"; its last response, of worker {last.worker}, came after {1e3 * (last.received_s - last.sent_s):.1f}, "
            f"{1e3 * last.computed_s:.1f} of them its turn and its work"
            if last is not None and last.received_s is not None and last.sent_s is not None
            else ""
        )
        return (
            f"{1e3 * self.elapsed_s:.1f} ms: master {1e3 * spent.master:.1f} on a core, {1e3 * spent.master_queued:.1f} queued, "
            f"workers {1e3 * spent.workers:.1f} and {1e3 * spent.workers_queued:.1f}, garbage collector "
            f"{1e3 * spent.collecting:.1f}, other processes {1e3 * spent.others:.0f}, of it the host {1e3 * spent.stolen:.0f}"
            f"{response}"
        )


class WatchedCluster(ProxyCluster):
    """A cluster that notes of every round where its time went."""

    def __init__(self, cluster: Cluster, meter: Meter) -> None:
        super().__init__(cluster)
        self.rounds: list[Watched] = []
        self._meter = meter
        self._events: list[TaskEvent] = []
        cluster.observers.append(self._events.append)

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        self._cluster.store(name, shares)

    def drop(self, names: Iterable[str]) -> None:
        self._cluster.drop(names)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        self._events.clear()
        before = self._meter.read()
        responses = self._cluster.run(round, until)
        spent = self._meter.read().since(before)
        last = responses.workers[-1]
        slowest = next((event for event in self._events if event.status == "counted" and event.worker == last), None)
        self.rounds.append(Watched(round.label, responses.elapsed_s, spent, slowest))
        return responses

    def close(self) -> None:
        self._meter.close()
