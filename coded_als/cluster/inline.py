"""The least cluster: kernels run in the calling process, in a seeded order of arrival."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from coded_als.arrays import Array
from coded_als.checks import RNG, seed_from
from coded_als.cluster.held import HeldArrays, newly
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import Played, gather_pieces
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.seam import Observer, Responses, Round, Status, StoppingRule, TaskEvent
from coded_als.delays.models import DelayModel
from coded_als.delays.streams import DelayStream, arrival_order
from coded_als.kernels import Stored


class InlineCluster:
    """W workers that are only dictionaries: for tests, small problems and debugging.

    No call waits: ``delays`` only sets the order in which the workers respond, and dead workers never do.
    Kernels run only for the responses that a round uses.

    Parameters
    ----------
    workers
        Number of workers W.
    delays
        A delay SPEC (`coded_als.delays.parse_delays`).
    seed
        Seed of the delays.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, InlineCluster
    >>> ratings = np.random.default_rng(0).standard_normal((60, 20))
    >>> cluster = InlineCluster(6, delays="dead:n=2")
    >>> CodedALS(rank=3, code="systematic:p=4").fit(ratings, cluster).converged_
    True
    """

    virtual = False

    def __init__(
        self, workers: int, delays: str | DelayModel = "none", seed: int | None = None, *, rng: RNG = None
    ) -> None:
        self._delays = DelayStream(delays, workers, seed_from(seed, rng))
        self.delays, self.machine = self._delays.model, Machine()
        self.size = workers
        self.observers: list[Observer] = []
        self._arrays = HeldArrays(workers)
        self._round_index = 0
        self._open: list[TaskEvent] = []
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        self._arrays.store(name, shares)

    def drop(self, names: Iterable[str]) -> None:
        self._arrays.drop(names)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        started = self.seconds()
        self._settle_open("superseded")
        self._arrays.receive(round)
        drawn = self._delays.disturb(round.operations)
        arrives_s = drawn.delays_s + self.machine.working_s(round.operations, drawn.slowness)
        left_out: dict[int, Status] = {}
        results: dict[int, tuple[Array, ...]] = {}
        course = Played()
        try:
            if isinstance(until, EveryPiece):
                results, course = gather_pieces(self._arrays, round, until, drawn, self.machine, left_out)
            else:
                results = self._arrays.gather(round, arrival_order(arrives_s), until, left_out)
        finally:
            elapsed_s = self.seconds() - started
            told: dict[int, Status] = {**dict.fromkeys(results, "counted"), **newly(left_out, round)}
            if told:
                self._report(round, started, started + elapsed_s, told, course.done)
            self._round_index += 1
        left = tuple(newly(left_out, round))
        return Responses(tuple(results), results, elapsed_s, left, course.done, course.answered_s, course.paces)

    def close(self) -> None:
        self._settle_open("unfinished")
        self._arrays.clear()

    def __enter__(self) -> InlineCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _report(
        self, round: Round, sent_s: float, received_s: float, told: Mapping[int, Status], done: Mapping[int, int]
    ) -> None:
        """Report the responses to the observers, and note the tasks that the round did not need."""
        for worker, status in told.items():
            # one computes after the other here, and nothing is waited for
            computed_s = received_s - sent_s
            event = TaskEvent(self._round_index, round.label, worker, status, sent_s, received_s, 0.0, computed_s)
            self._tell(replace(event, pieces=done.get(worker)))
        self._open = [
            TaskEvent(self._round_index, round.label, worker, "unfinished", sent_s, None)
            for worker in range(self.size)
            if worker not in told and worker not in round.excluded
        ]

    def _settle_open(self, status: Status) -> None:
        open_tasks, self._open = self._open, []
        for event in open_tasks:
            self._tell(replace(event, status=status))

    def _tell(self, event: TaskEvent) -> None:
        for observer in self.observers:
            observer(event)
