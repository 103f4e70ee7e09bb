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
        self._payloads = round.payloads
        self._memory = None if round.keep else memory
        if self._memory is not None:
            self._memory.clear()
        # the last tuple, and how it travels, in either way
        self._shared: tuple[tuple[Array, ...], Packed] = (), packed(())
        self._framed: tuple[tuple[Array, ...], Packed] = (), packed(())

    def of(self, worker: int) -> tuple[Array, ...]:
        """The arrays for one worker, (planes, rows, columns) each."""
        return self._payloads[worker] if self._payloads is not None else ()

    def packed(self, worker: WorkerState) -> Packed:
        """The same, ready to be sent."""
        payload = self.of(worker.id)
        if self._memory is not None and worker.memory == self._memory.name:
            if payload is not self._shared[0]:
                self._shared = payload, packed(payload, self._memory)
            return self._shared[1]
        if payload is not self._framed[0]:
            self._framed = payload, packed(payload)
        return self._framed[1]
