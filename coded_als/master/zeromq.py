"""A `Cluster` of processes that talk over ZeroMQ, wherever they run.

The master never waits for one worker in particular: it sends without blocking, gives each worker credit for
two open tasks, and a worker without credit is a straggler like any other. A stored array has a version, and
only a worker that holds the newest version of every operand is asked.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from coded_als.checks import require_number
from coded_als.cluster import Observer, Responses, Round, StoppingRule, require_stored
from coded_als.cluster.held import require_one_product
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.delays import DelayModel, DelayStream
from coded_als.errors import CodedALSError, UsageError
from coded_als.kernels import KERNELS, Stored, is_kernel
from coded_als.master.events import Events, WorkerObserver
from coded_als.master.guards import Interrupts, Usage
from coded_als.master.link import MOST_FRAME_BYTES, Link
from coded_als.master.membership import Membership, workers_in_words
from coded_als.master.rounds import Rounds, RunningRound
from coded_als.master.stores import Stores, require_one_each
from coded_als.wire import CLOCK, SystemClock

# Generous: only stopped workers take so long, not work.
ROUND_TIMEOUT_S = 600.0


class ZmqCluster:
    """W workers behind one ROUTER socket.

    Arrays handed to `store` and `run` must not be modified afterwards: large ones are sent from where they are.

    ``link``: the bound socket; ``job``: secret of the cluster; ``workers``: number of workers W; ``delays``: seconds
    that workers wait before they work; ``resources``: resources that closing ends, the link included; they also end
    when the cluster is forgotten or the interpreter ends; ``round_timeout_s``: seconds that a round may take;
    ``return_within_s``: seconds that a round waits for the restart of a worker that died, if it cannot end without that
    worker; ``clock``: that of the rounds, and of their waiting.
    """

    virtual = False

    def __init__(
        self,
        link: Link,
        job: bytes,
        workers: int,
        delays: DelayStream,
        resources: ExitStack,
        round_timeout_s: float = ROUND_TIMEOUT_S,
        return_within_s: float = 0.0,
        clock: SystemClock = CLOCK,
    ) -> None:
        self.size = workers
        self.round_timeout_s = round_timeout_s
        self.delays, self.machine, self._stream = delays.model, Machine(), delays
        self.observers: list[Observer] = []
        self.worker_observers: list[WorkerObserver] = []
        self._link = link
        self._clock, started = clock, clock.seconds()
        # nothing below knows the cluster: a cycle would keep forgotten ones, and their workers
        self._events = Events(self.observers, self.worker_observers, lambda: clock.seconds() - started)
        self._membership = Membership(link, job, workers, clock.seconds)
        self._stores = Stores(self._membership, job, clock.seconds)
        self._rounds = Rounds(self._membership, self._stores, self._events, job, return_within_s, clock.seconds)
        self._usage = Usage()
        self._unwanted: list[str] = []
        # Kept, so that its messages end where handlers are put off: pyzmq swallows a handler's error while a frame ends.
        self._latest: RunningRound | None = None
        self._resources = resources
        self._finalizer = weakref.finalize(self, _unless_forked, self._usage, resources.close)

    def _await_workers(
        self, timeout_s: float, remedy: Callable[[], str], check: Callable[[], None] = lambda: None
    ) -> None:
        """Return once all workers have joined; a cluster that they do not join in time is closed."""
        try:
            if not self._membership.wait_for_all(timeout_s, check):
                missing = self._membership.missing
                raise CodedALSError(
                    f"{self.size} workers must join within {timeout_s:g} s; {self.size - len(missing)} did, and "
                    f"{workers_in_words(missing)} did not. {remedy()}".rstrip()
                )
        except BaseException:
            self.close()
            raise

    @property
    def malformed(self) -> int:
        """Messages that were dropped because they were none of this cluster's."""
        return self._membership.malformed

    @property
    def process_ids(self) -> dict[int, int]:
        """Process id of each worker that has joined, on its own machine."""
        return {number: worker.process_id for number, worker in sorted(self._membership.workers.items())}

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of messages sent to the workers and received from them; not those of shared memory."""
        return self._link.sent_bytes, self._link.received_bytes

    @property
    def addresses(self) -> dict[int, str]:
        """Network address of each worker that has joined; empty for one on this machine behind a Unix socket."""
        return {number: worker.address for number, worker in sorted(self._membership.workers.items())}

    def seconds(self) -> float:
        return self._events.seconds()

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        """Give each worker one array to keep; `UsageError` when there are not exactly W shares."""
        with self._claimed() as interrupts:
            again = shares if isinstance(shares, Sequence) else None
            self._stores.give_out(name, interrupts.between(shares), self.size, again)

    def drop(self, names: Iterable[str]) -> None:
        """Let the workers forget arrays, at once or, while the cluster is at work, before it works again."""
        self._unwanted.extend(names)
        if not self._usage.refuses:
            with self._claimed():
                self._latest = None

    def run(self, round: Round, until: StoppingRule) -> Responses:
        """Run one round; return at the response that satisfies ``until``.

        Raises NotEnoughWorkers, DecodingError as soon as the workers that can still respond do not suffice. Raises
        RoundTimeout when the round has taken longer than ``round_timeout_s``. Raises WorkerFailed when a kernel raised,
        or returned arrays of other shapes than the round says. Raises UsageError when the round names an unknown kernel
        or array, or has a wrong number of payloads.
        """
        with self._claimed():
            self._check(round)
            if isinstance(until, EveryPiece):
                require_one_product(round)
                require_unchecked(round)
            self._latest = None
            self._membership.catch_up()
            drawn = self._stream.disturb(round.operations)
            started = self.seconds()
            try:
                done = self._latest = self._rounds.carry_out(round, until, self.round_timeout_s, drawn, self.machine)
            finally:
                self._events.deliver()
            left_out = tuple(worker for worker in done.left_out if worker not in round.excluded)
            results = done.results
            own = {} if done.asking is None else done.asking.own_answers
            paces = {} if done.asking is None else done.asking.progress.paces
            return Responses(tuple(results), results, done.ended_s - started, left_out, done.done_pieces, own, paces)

    def close(self) -> None:
        """Let go of the workers at once, stragglers included; more than once is harmless."""
        if self._usage.closed or self._usage.forked:
            return
        with self._claimed():
            self._usage.closed = True
            self._rounds.give_up()
            try:
                self._events.deliver()
            finally:
                self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _claimed(self) -> Iterator[Interrupts]:
        """A stretch in which no other caller uses the cluster and no signal handler tears it apart."""
        with self._usage.claimed() as interrupts:
            self._link.interrupts = interrupts
            if self._unwanted:
                unwanted, self._unwanted = self._unwanted, []
                self._stores.drop(unwanted)
            yield interrupts

    def _check(self, round: Round) -> None:
        if not is_kernel(round.kernel):
            raise UsageError(f"kernel must be one of {', '.join(KERNELS)}; got {round.kernel!r}. Correct the round.")
        largest = max(map(round.array_bytes, round.response_shapes), default=0)
        if largest > MOST_FRAME_BYTES:
            raise UsageError(
                f"a response must have at most {MOST_FRAME_BYTES} bytes in an array; got {largest}. Use fewer columns or "
                "more parts."
            )
        self._link.expect(round.response_bytes)
        if round.payloads is not None:
            require_one_each("payload", self.size, len(round.payloads))
        if len(round.keep) > min(map(len, round.payloads or [()])):
            raise UsageError(f"keep must name arrays of the payload; got {round.keep}. Pass as many arrays as names.")
        require_stored(round, self._stores.newest)


def require_unchecked(round: Round) -> None:
    """`UsageError` where answers that come in pieces are to be checked by a check of whole responses."""
    if round.check is not None:
        raise UsageError(
            "a check must look at pieces where a round is in pieces; got one of whole responses. Use pieces=1."
        )


def _unless_forked(usage: Usage, end: Callable[[], None]) -> None:
    """Run ``end`` unless this process is a forked copy of the cluster's, which has no say."""
    if not usage.forked:
        end()


def delay_stream(workers: int, delays: str | DelayModel, seed: int, round_timeout_s: float) -> DelayStream:
    """The delays of a cluster; `UsageError` for parameters out of range, before anything is started."""
    require_number("round_timeout_s", round_timeout_s, positive=True)
    return DelayStream(delays, workers, seed)
