"""Stored arrays: their versions, and giving them out no faster than they are received."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from coded_als.cluster.scope import Part
from coded_als.errors import UsageError
from coded_als.kernels import Stored, as_stored
from coded_als.master.membership import MOST_OPEN_STORES, MasterClock, Membership, WorkerState
from coded_als.wire import Load, Retain, Stamp, Store, encode

# The master sends another share while fewer of them, or fewer bytes, than these are without an acknowledgement ...
OPEN_SHARES, OPEN_BYTES = 4, 64 << 20
# ... or when nothing was acknowledged for a while, at a bandwidth that any network has.
GRACE_S, SLOWEST_BYTES_PER_S = 2.0, 10e6


class Stores:
    """The arrays that the workers should hold.

    ``membership``: the workers; ``job``: secret of the cluster; ``clock``: as the membership's.
    """

    def __init__(self, membership: Membership, job: bytes, clock: MasterClock) -> None:
        self.newest: dict[str, int] = {}
        self._again: dict[str, Sequence[Stored]] = {}
        self._membership, self._job, self._clock = membership, job, clock
        # a worker from an earlier master of the same keys may still hold arrays under the versions of that master
        self._versions = secrets.randbelow(2**31)

    def new_version(self, name: str) -> Stamp:
        """Make all that workers hold under this name stale."""
        self._versions += 1
        self.newest[name] = self._versions
        self._again.pop(name, None)
        return name, self._versions

    def is_newest(self, version: int) -> bool:
        """Whether this version is the newest of some name, and not an earlier one."""
        return version in self.newest.values()

    def give_out(self, name: str, shares: Iterable[Stored], size: int, again: Sequence[Stored] | None = None) -> None:
        """Give one array to each of ``size`` workers; `UsageError` when there are more or fewer."""
        stamp = self.new_version(name)
        given = 0
        for share in shares:
            if given == size:
                require_one_each("share", size, "more")
            worker = self._membership.workers[given]
            self._let_catch_up([worker], MOST_OPEN_STORES - 1, 0)
            self.send(worker, stamp, share)
            self._let_catch_up(self._membership.alive, OPEN_SHARES, OPEN_BYTES)
            given += 1
        require_one_each("share", size, given)
        if again is not None:
            self._again[name] = again
            for worker in self._membership.alive:
                self.restore(worker)

    def restore(self, worker: WorkerState) -> None:
        """Send a worker the arrays that it lacks, one after the other: the next one when it has the last."""
        lacking = [name for name in self._again if not worker.holds([(name, self.newest[name])])]
        worker.behind = bool(lacking)
        if lacking and not any(worker.open_stores.values()):
            self.send(worker, (lacking[0], self.newest[lacking[0]]), self._again[lacking[0]][worker.id])

    def can_restore(self, stamps: Iterable[Stamp]) -> bool:
        """Whether a worker that lacks these will be given them."""
        return all(name in self._again for name, _ in stamps)

    def acknowledged(self, worker: WorkerState, version: int) -> None:
        """A worker has got an array, or has found none where it was to load it from."""
        worker.open_stores.pop(version, None)
        worker.loading.discard(version)
        if worker.behind:
            self.restore(worker)

    def drop(self, names: Iterable[str]) -> None:
        """Let all workers forget arrays; those that are away or behind are told later (`retain`)."""
        for name in names:
            self.newest.pop(name, None)
            self._again.pop(name, None)
            for worker in self._membership.workers.values():
                worker.untidy |= worker.held.pop(name, None) is not None
        for worker in self._membership.alive:
            if worker.untidy and worker.has_credit:
                self.retain(worker)

    def retain(self, worker: WorkerState) -> None:
        """Tell a worker the names that it may still hold arrays under; it forgets all others."""
        worker.untidy = False
        self._membership.send(worker, encode(Retain(self._job, worker.id, tuple(self.newest.items()))))

    def send(self, worker: WorkerState, stamp: Stamp, array: Stored) -> None:
        """Send one array to keep, unless the worker is gone or has left too many without an acknowledgement."""
        if not worker.alive or len(worker.open_stores) >= MOST_OPEN_STORES:
            return
        name, version = stamp
        if isinstance(array, Part):
            size, frames = 1, encode(Load(self._job, worker.id, name, version, array.number))
            worker.loading.add(version)
        else:
            array = as_stored(array)
            # 0 bytes would say that it is no longer waited for
            size, frames = max(1, array.nbytes), encode(Store(self._job, worker.id, name, version, (array,)))
        worker.open_stores[version] = size
        if self._membership.send(worker, frames):
            worker.held.update((stamp,))

    def _let_catch_up(self, workers: Sequence[WorkerState], most_shares: int, most_bytes: int) -> None:
        """Wait until one of the bounds holds, but only once for workers that have stopped."""
        last = None
        while True:
            sizes = [size for worker in workers for size in worker.open_stores.values() if size]
            if len(sizes) <= most_shares or sum(sizes) <= most_bytes:
                return
            now = self._clock()
            if len(sizes) != last:
                last, patience_ends = len(sizes), now + GRACE_S + sum(sizes) / SLOWEST_BYTES_PER_S
            if now >= patience_ends:
                for worker in workers:
                    worker.open_stores = dict.fromkeys(worker.open_stores, 0)  # no longer waited for
                return
            self._membership.step(patience_ends - now)


def require_one_each(what: str, size: int, got: int | str) -> None:
    """`UsageError` unless there is one for each worker."""
    if got != size:
        raise UsageError(f"there must be one {what} for each of the {size} workers; got {got}. Pass {size}.")
