"""The payloads of a round on their way: in memory that workers of this machine share, or in frames."""

from __future__ import annotations

from coded_als.arrays import Array
from coded_als.cluster import Round
from coded_als.master.workers import WorkerState
from coded_als.wire import Packed, SharedMemory, packed


class Payloads:
    """What each worker is sent in one round; a tuple that is repeated is packed once.

    What the workers are to keep is sent in frames: memory is overwritten by the next round.

    Parameters
    ----------
    round
        Whose payloads.
    memory
        What some workers share with this process.
    """

    def __init__(self, round: Round, memory: SharedMemory | None) -> None:
        self._payloads, self._dtype = round.payloads, round.dtype
        self._memory = None if round.keep else memory
        if self._memory is not None:
            self._memory.clear()
        # the last tuple and how it travels, with and without shared memory
        self._last: dict[bool, tuple[tuple[Array, ...], Packed]] = {}

    def of(self, worker: int) -> tuple[Array, ...]:
        """The arrays for one worker, (planes, rows, columns) each."""
        return self._payloads[worker] if self._payloads is not None else ()

    def packed(self, worker: WorkerState) -> Packed:
        """The same, ready to be sent."""
        payload, memory = self.of(worker.id), self._memory
        if memory is not None and worker.memory != memory.name:
            memory = None
        last = self._last.get(memory is not None)
        if last is None or last[0] is not payload:
            last = self._last[memory is not None] = payload, packed(payload, memory, self._dtype)
        return last[1]
