"""Assignment of worker numbers to the workers of a Dask cluster that comes and goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DaskWorker:
    """One worker of a Dask cluster.

    Parameters
    ----------
    name
        What it is called; it is called the same after its nanny restarted it.
    address
        Where it is; another one after a restart.
    threads
        How many tasks it runs at once.
    """

    name: str
    address: str
    threads: int


class Slots:
    """Who runs which of the worker numbers 0, ..., W - 1.

    Parameters
    ----------
    workers
        Number of our workers W.
    """

    def __init__(self, workers: int) -> None:
        self._vacant = set(range(workers))
        self._held: dict[str, tuple[int, ...]] = {}
        self._names: dict[str, str] = {}
        self._before: dict[str, tuple[int, ...]] = {}
        self._workers, self._crowding = workers, 0

    def assign(self, present: Mapping[str, DaskWorker]) -> dict[str, tuple[int, ...]]:
        """What each Dask worker that is new has to start.

        The numbers of those that are gone are vacant. Who is back under its old name gets its old numbers before any
        others; a Dask worker gets one for each thread or, where there are more of ours than there were threads at the
        beginning, as many times more.

        Parameters
        ----------
        present
            The Dask workers that are there, by address.

        Returns
        -------
        dict
            Numbers by address; those without any are left out.
        """
        for address in self._held.keys() - present.keys():
            self.release(address)
        new = sorted((worker for worker in present.values() if worker.address not in self._held), key=_by_name)
        given = {worker.address: self._take(self._before.get(worker.name, ())) for worker in new}
        if not self._crowding and new:
            self._crowding = -(-self._workers // sum(worker.threads for worker in new))
        for worker in new:
            own = given[worker.address]
            rest = sorted(self._vacant)[: max(0, worker.threads * self._crowding - len(own))]
            given[worker.address] = numbers = (*own, *self._take(tuple(rest)))
            self._held[worker.address], self._names[worker.address] = numbers, worker.name
        return {address: numbers for address, numbers in given.items() if numbers}

    def held(self) -> dict[str, tuple[int, ...]]:
        """Numbers by address, as they were assigned last."""
        return {address: numbers for address, numbers in self._held.items() if numbers}

    def release(self, address: str) -> None:
        """Make the numbers of a Dask worker vacant: it is gone, or could not start them."""
        numbers = self._held.pop(address, ())
        self._before[self._names.pop(address, "")] = numbers
        self._vacant.update(numbers)

    def _take(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        taken = tuple(number for number in numbers if number in self._vacant)
        self._vacant.difference_update(taken)
        return taken


def _by_name(worker: DaskWorker) -> tuple[int, str]:
    """Order in which 10 comes after 9."""
    return len(worker.name), worker.name
