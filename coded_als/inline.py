"""The least cluster: kernels run in the calling process, in a seeded order of arrival."""

from __future__ import annotations

import time
from collections.abc import Iterable

from coded_als.cluster import Array, Observer, Responses, Round, StoppingRule, TaskEvent, require_satisfiable
from coded_als.delays import DelayStream, arrival_order
from coded_als.kernels import KERNELS, run_to_end


class InlineCluster:
    """W workers that are only dictionaries: for tests, small problems and debugging.

    Nobody waits: ``delays`` only decides in which order the workers answer, and dead workers never do.
    Kernels run only for the answers that a round uses.

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

    def __init__(self, workers: int, delays: str = "none", seed: int = 0) -> None:
        self.size = workers
        self.observers: list[Observer] = []
        self._memory: list[dict[str, Array]] = [{} for _ in range(workers)]
        self._delays = DelayStream(delays, workers, seed)
        self._round_index = 0
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def store(self, name: str, shares: Iterable[Array]) -> None:
        for memory, share in zip(self._memory, shares, strict=True):
            memory[name] = share

    def run(self, round: Round, until: StoppingRule) -> Responses:
        started = self.seconds()
        for worker, memory in enumerate(self._memory):
            if round.payloads is not None:
                memory.update(zip(round.keep, round.payloads[worker], strict=False))
        order = arrival_order(self._delays.next_round(round.operations))
        require_satisfiable(until, order)
        results: dict[int, tuple[Array, ...]] = {}
        for worker in order:
            results[worker] = self._answer(worker, round)
            if until.satisfied(tuple(results)):
                break
        elapsed_s = self.seconds() - started
        for worker in results:
            event = TaskEvent(self._round_index, round.label, worker, "answered", started, started + elapsed_s)
            for observer in self.observers:
                observer(event)
        self._round_index += 1
        return Responses(tuple(results), results, elapsed_s)

    def _answer(self, worker: int, round: Round) -> tuple[Array, ...]:
        memory = self._memory[worker]
        payload = round.payloads[worker] if round.payloads is not None else ()
        return run_to_end(KERNELS[round.kernel](*(memory[name] for name in round.operands), *payload))

    def close(self) -> None:
        self._memory.clear()

    def __enter__(self) -> InlineCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
