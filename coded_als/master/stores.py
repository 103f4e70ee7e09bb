"""Stored arrays: their versions, and giving them out no faster than they are received."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np

from coded_als.errors import UsageError
from coded_als.kernels import Array
from coded_als.master.crew import Crew
from coded_als.master.member import MOST_OPEN_STORES, Member
from coded_als.wire import Kind, Message, Stamp

# Shares are given out while fewer of them, or fewer bytes, than these are without an acknowledgement ...
OPEN_SHARES, OPEN_BYTES = 4, 64 << 20
# ... or when nothing was acknowledged for a while, at a bandwidth that any network has.
GRACE_S, SLOWEST_BYTES_PER_S = 2.0, 10e6


class Stores:
    """What the workers should hold.

    Parameters
    ----------
    crew
        The workers.
    job
        Secret of the cluster.
    """

    def __init__(self, crew: Crew, job: bytes) -> None:
        self.newest: dict[str, int] = {}
        self._crew, self._job = crew, job
        self._versions = 0

    def new_version(self, name: str) -> Stamp:
        """Make all that workers hold under this name stale."""
        self._versions += 1
        self.newest[name] = self._versions
        return name, self._versions

    def give_out(self, name: str, shares: Iterable[Array], size: int) -> None:
        """Give one array to each of ``size`` workers; `UsageError` when there are more or fewer."""
        stamp = self.new_version(name)
        given = 0
        for share in shares:
            if given == size:
                require_one_each("share", size, "more")
            member = self._crew.members[given]
            self._let_catch_up([member], MOST_OPEN_STORES - 1, 0)
            self.send(member, stamp, share)
            self._let_catch_up(self._crew.alive, OPEN_SHARES, OPEN_BYTES)
            given += 1
        require_one_each("share", size, given)

    def send(self, member: Member, stamp: Stamp, array: Array) -> None:
        """Send one array to keep, unless the worker is gone or has left too many without an acknowledgement."""
        if not member.alive or len(member.open_stores) >= MOST_OPEN_STORES:
            return
        array = np.asarray(array, dtype=np.float64)
        # 0 bytes would say that it is no longer waited for
        member.open_stores[stamp[1]] = max(1, array.nbytes)
        message = Message(Kind.STORE, self._job, member.worker, stamp[1], keep=(stamp,), arrays=(array,))
        if self._crew.send(member, message):
            member.held.update((stamp,))

    def _let_catch_up(self, members: Sequence[Member], most_shares: int, most_bytes: int) -> None:
        """Wait until one of the bounds holds, but only once for workers that have stopped."""
        last = None
        while True:
            sizes = [size for member in members for size in member.open_stores.values() if size]
            if len(sizes) <= most_shares or sum(sizes) <= most_bytes:
                return
            now = time.monotonic()
            if len(sizes) != last:
                last, patience_ends = len(sizes), now + GRACE_S + sum(sizes) / SLOWEST_BYTES_PER_S
            if now >= patience_ends:
                for member in members:
                    member.open_stores = dict.fromkeys(member.open_stores, 0)  # no longer waited for
                return
            self._crew.step(patience_ends - now)


def require_one_each(what: str, size: int, got: int | str) -> None:
    """`UsageError` unless there is one for each worker."""
    if got != size:
        raise UsageError(f"there must be one {what} for each of the {size} workers; got {got}. Pass {size}.")
