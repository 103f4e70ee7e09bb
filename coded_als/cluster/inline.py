"""The least cluster: kernels run in the calling process, in a seeded order of arrival."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from coded_als.arrays import Array
from coded_als.cluster.machine import Machine
from coded_als.cluster.rules import counted_workers
from coded_als.cluster.seam import Observer, Responses, Round, Status, StoppingRule, TaskEvent, require_stored, verdict
from coded_als.delays.models import DelayModel
from coded_als.delays.streams import DelayStream, arrival_order
from coded_als.kernels import Stored, as_stored, find_kernel, run_to_end


class HeldArrays:
    """What W workers of the calling process hold, and the kernels that run on it."""

    def __init__(self, workers: int) -> None:
        self._memory: list[dict[str, Stored]] = [{} for _ in range(workers)]

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        for memory, share in zip(self._memory, shares, strict=True):
            memory[name] = as_stored(share)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            for memory in self._memory:
                memory.pop(name, None)

    def receive(self, round: Round) -> None:
        """Every worker keeps what the round tells it to keep, whether or not it will respond in time.

        Raises UsageError when an operand is not there.
        """
        require_stored(round, self._memory[0] if self._memory else ())
        for worker, memory in enumerate(self._memory):
            if round.payloads is not None:
                memory.update(zip(round.keep, round.payloads[worker], strict=False))

    def compute(self, worker: int, round: Round) -> tuple[Array, ...]:
        """The response of one worker, (planes, rows, columns) each."""
        memory = self._memory[worker]
        payload = round.payloads[worker] if round.payloads is not None else ()
        return run_to_end(find_kernel(round.kernel)(*(memory[name] for name in round.operands), *payload))

    def gather(
        self, round: Round, order: tuple[int, ...], until: StoppingRule, left_out: dict[int, Status]
    ) -> dict[int, tuple[Array, ...]]:
        """The responses that a round uses, when the workers respond in ``order``.

        Raises NotEnoughWorkers, DecodingError when even all of them do not satisfy the rule.
        """
        computed: dict[int, tuple[Array, ...]] = {}
        left_out.update(excluded_from(round))
        while True:
            counted = counted_workers(tuple(worker for worker in order if worker not in left_out), until, left_out)
            for worker in counted:
                if worker not in computed:
                    computed[worker] = self.compute(worker, round)
                    status = verdict(round, worker, computed[worker])
                    if status != "counted":
                        left_out[worker] = status
                        break
            else:
                return {worker: computed[worker] for worker in counted}

    def clear(self) -> None:
        """Forget everything."""
        self._memory.clear()


def excluded_from(round: Round) -> dict[int, Status]:
    """The workers that take no part in a round, because responses of theirs were found wrong."""
    return dict.fromkeys(sorted(round.excluded), "corrupt")


def newly(left_out: Mapping[int, Status], round: Round) -> dict[int, Status]:
    """The workers whose responses to this round do not count, and why."""
    return {worker: status for worker, status in left_out.items() if worker not in round.excluded}


class InlineCluster:
    """W workers that are only dictionaries: for tests, small problems and debugging.

    Nobody waits: ``delays`` only decides in which order the workers respond, and dead workers never do.
    Kernels run only for the responses that a round uses.

    Parameters
    ----------
    workers
        Number of workers W.
    delays
        A delay SPEC (`coded_als.delays.parse_delays`).
    seed
        Seed of the delays.
    """

    virtual = False

    def __init__(self, workers: int, delays: str | DelayModel = "none", seed: int = 0) -> None:
        self._delays = DelayStream(delays, workers, seed)
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
        order = arrival_order(drawn.delays_s + self.machine.working_s(round.operations, drawn.slowness))
        left_out: dict[int, Status] = {}
        results: dict[int, tuple[Array, ...]] = {}
        try:
            results = self._arrays.gather(round, order, until, left_out)
        finally:
            elapsed_s = self.seconds() - started
            told: dict[int, Status] = {**dict.fromkeys(results, "counted"), **newly(left_out, round)}
            if told:
                self._report(round, started, started + elapsed_s, told)
            self._round_index += 1
        return Responses(tuple(results), results, elapsed_s, tuple(newly(left_out, round)))

    def close(self) -> None:
        self._settle_open("unfinished")
        self._arrays.clear()

    def __enter__(self) -> InlineCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _report(self, round: Round, sent_s: float, received_s: float, told: Mapping[int, Status]) -> None:
        """Tell of the responses, and note the tasks that nobody needed."""
        for worker, status in told.items():
            self._tell(TaskEvent(self._round_index, round.label, worker, status, sent_s, received_s))
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
