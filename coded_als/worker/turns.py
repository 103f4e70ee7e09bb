"""Turns of workers that share a machine's cores: no more compute at a time than there are cores, the lowest number first.

A round ends with the first responses. Workers that the system lets take slices of time by turns all respond late, when
the last of them is nearly done too. If they compute one after the other, the first respond early, and workers that the
round no longer needs have not begun. The first workers hold one copy of each block, and the systematic shares.
"""

from __future__ import annotations

import mmap
import os
import select
import struct

import zmq

from coded_als.wire import CLOCK

# When none has been given back for so long, those that wait work without: computations are long, or the holder of
# the turns has been stopped.
PATIENCE_S = 1.0
# Workers that wait are woken one at a time, which Linux can do.
AVAILABLE = hasattr(select, "EPOLLEXCLUSIVE")


class Turns:
    """As many turns as cores, in a pipe, for workers that are forked after this.

    ``workers``: number of workers W; ``cores``: that they share.
    """

    def __init__(self, workers: int, cores: int) -> None:
        self._free, self._given = os.pipe()
        os.set_blocking(self._free, False)
        os.set_blocking(self._given, False)
        # shared with the forked workers: the time when a turn came back last, and for each worker whether it has one,
        # so that its death gives it back
        self._notes = mmap.mmap(-1, _TIME.size + workers)
        # Linux wakes those that wait for one pipe in the order in which they were registered
        self._pollers = [select.epoll() for _ in range(workers)]
        for poller in self._pollers:
            poller.register(self._free, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        os.write(self._given, bytes(cores))

    def of(self, worker: int) -> Turn:
        """The turn of one worker, in its own process."""
        return Turn(self._free, self._given, self._notes, worker, self._pollers[worker])

    def died(self, worker: int) -> None:
        """Give back the turn of a dead worker, if it had one."""
        self.of(worker).give()


class Turn:
    """The turn that one worker takes before it computes and gives back afterwards.

    ``free, given``: ends of the pipe that holds a byte for each free turn; ``notes``: seconds on the clock when one was
    given back last, then a byte for each worker, 1 while it has one; ``worker``: its number; ``poller``: waits for a
    free turn.
    """

    def __init__(self, free: int, given: int, notes: mmap.mmap, worker: int, poller: select.epoll) -> None:
        self._free, self._given, self._notes, self._place = free, given, notes, _TIME.size + worker
        self._poller, self._socket = poller, -1

    def take(self) -> bool:
        """Whether there was one."""
        try:
            os.read(self._free, 1)
        except BlockingIOError:
            return False
        self._notes[self._place] = 1
        return True

    def give(self) -> None:
        """Let the next one have it; without one, nothing happens."""
        if self._notes[self._place]:
            self._notes[self._place] = 0
            _TIME.pack_into(self._notes, 0, CLOCK.seconds())
            os.write(self._given, b"\0")

    def wait(self, socket: zmq.Socket[bytes], since: float) -> bool:
        """Wait until there may be a turn, or a message; False when there has been none for too long."""
        if self._socket < 0:
            self._socket = int(socket.getsockopt(zmq.FD))
            self._poller.register(self._socket, select.EPOLLIN)
        given_s: float = _TIME.unpack_from(self._notes)[0]
        remaining_s = max(since, given_s) + PATIENCE_S - CLOCK.seconds()
        self._poller.poll(max(0.0, remaining_s))
        return remaining_s > 0


# one clock for all processes of a machine
_TIME = struct.Struct("d")
