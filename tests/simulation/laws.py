"""The laws of the clusters, held against the real master at each step, after each round and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.cluster import AnyOfEach, Responses, Round, StoppingRule, TaskEvent, all_of
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.scope import Part
from coded_als.delays import DelayStream
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.master.membership import MOST_OPEN_STORES, MOST_OPEN_TASKS
from coded_als.master.zeromq import ZmqCluster
from tests.simulation.baton import Violation
from tests.simulation.oracle import expected_response
from tests.simulation.scene import JOB, Scene

# Virtual seconds that a round may take: more than any fault.
ROUND_S = 120.0


# The number of the life and of the connection of each worker that has one.
Standing = dict[int, tuple[int, int]]


class CheckedCluster(ZmqCluster):
    """The real cluster on a simulated network, with an oracle beside it.

    Parameters
    ----------
    scene
        Where its workers are.
    """

    def __init__(self, scene: Scene) -> None:
        scenario = scene.scenario
        size = scenario.case.workers
        self.scene, self.events = scene, list[TaskEvent]()
        # by name, the connections that stood when a round left arrays on the workers, which no one can give again
        self._kept = dict[str, Standing]()
        # by round, the workers that were there without a break
        self._asked = set[tuple[int, int]]()
        self._arrays, self._parts, self._next_part = dict[str, Sequence[NDArray[Any]]](), dict[str, range](), 0
        stream = DelayStream(scenario.delays, size, scenario.seed)
        super().__init__(
            scene.network.link, JOB, size, stream, ExitStack(), ROUND_S, scenario.return_within_s, scene.clock
        )
        self._resources.callback(self._membership.dismiss)
        self._stores._versions = self._rounds._first_attempt = 100  # and not at random
        self.observers.append(self.events.append)
        scene.network.link.look = self._look
        for number in range(size):
            scene.start(number)
        self._await_workers(ROUND_S, str)

    def store(self, name: str, shares: Iterable[Any]) -> None:
        """Give out shares, or lay them where the workers are and let them be loaded, as on Dask."""
        before = self._parts.pop(name, ())
        self._arrays[name] = arrays = list(shares)
        if self.scene.scenario.parts:
            first = self._next_part
            self._next_part = first + len(arrays)
            self._parts[name] = range(first, self._next_part)
            self.scene.folder.arrays.update(zip(self._parts[name], map(np.array, arrays), strict=True))
            shares = list(map(Part, self._parts[name]))
        super().store(name, arrays if not self.scene.scenario.parts else shares)
        for number in before:
            del self.scene.folder.arrays[number]

    def drop(self, names: Iterable[str]) -> None:
        """Let arrays be forgotten, and delete the parts that lie where the workers are."""
        names = list(names)
        super().drop(names)
        for name in names:
            self._arrays.pop(name, None)
            self._kept.pop(name, None)
            for number in self._parts.pop(name, ()):
                del self.scene.folder.arrays[number]

    def run(self, round: Round, until: StoppingRule) -> Responses:
        """A round, whose end and responses are checked."""
        known, index = {worker.id for worker in self._membership.alive}, self._rounds._round_index
        standing = {worker: end for worker, end in self.scene.standing().items() if worker in known}
        for place, name in enumerate(round.keep):
            self._arrays[name] = [payload[place] for payload in round.payloads or ()]
        try:
            responses = super().run(round, until)
        except (NotEnoughWorkers, DecodingError) as error:
            self._require_reason(error, round, until, standing)
            self._kept.update((name, {}) for name in round.keep)
            raise
        finally:
            there = self._untouched(standing).keys() - round.excluded
            self._asked.update((index, worker) for worker in there)
        self._kept.update((name, self._got(standing)) for name in round.keep)
        self._require_right(round, until, responses)
        return responses

    def _got(self, standing: Standing) -> Standing:
        """Those that were sent the arrays of a round: a worker that has left too many unread is sent no more."""
        full = {
            worker.id for worker in self._membership.workers.values() if len(worker.open_stores) >= MOST_OPEN_STORES
        }
        return {worker: end for worker, end in standing.items() if worker not in full}

    def _untouched(self, standing: Standing) -> Standing:
        """The connections among these that stand without a break."""
        return dict(standing.items() & self.scene.standing().items())

    def _look(self) -> None:
        """The laws of every step."""
        for worker in self._membership.workers.values():
            if len(worker.open_tasks) > MOST_OPEN_TASKS:
                raise Violation(f"no worker may have more tasks than its credit; worker {worker.id} has")

    def _require_reason(self, error: Exception, round: Round, until: StoppingRule, standing: Standing) -> None:
        """A round may end in vain only if workers were lost that it cannot do without, for longer than it waits."""
        kept = [self._kept[name] for name in set(round.operands) - set(round.keep) if name in self._kept]
        for before in kept:
            standing = dict(standing.items() & before.items())
        untouched = tuple(self._untouched(standing).keys() - self.scene.liars)
        forgives = bool(kept or self.scene.liars) or self.scene.scenario.return_within_s == 0.0
        if not forgives or until.satisfied(untouched):
            raise Violation(f"a round must end where enough workers are there, or come back in time; {error}")

    def _require_right(self, round: Round, until: StoppingRule, responses: Responses) -> None:
        workers = responses.workers
        if len(set(workers)) != len(workers) or set(workers) & round.excluded:
            raise Violation(f"a worker counts once, unless it is excluded; got {workers}")
        if set(responses.left_out) - self.scene.liars:
            raise Violation(f"no honest worker is left out; {responses.left_out} are")
        if not is_enough(until, responses):
            raise Violation(f"a round ends only with enough responses; got {workers}, {dict(responses.done)}")
        for worker, arrays in responses.results.items():
            right = expected_response(round, until, responses, worker, self._arrays)
            for array, expected in zip(arrays, right, strict=True):
                if array.shape != expected.shape or not np.allclose(array, expected, rtol=1e-9, atol=1e-11):
                    raise Violation(f"responses that count are the products of their round; that of {worker} is not")

    def require_health(self) -> None:
        """All respond to a round, and nothing is left anywhere: what happened has no lasting effect."""
        self.store("last", [np.full((1, 1, 1), 1.0 + worker) for worker in range(self.size)])
        payloads = [(np.full((1, 1, 1), 2.0),)] * self.size
        self.run(Round("product", ("last",), payloads, response_shapes=((1, 1, 1),)), all_of(self.size))
        self.drop(["last"])
        for _ in range(3):
            self.scene.baton.wait(0.3)
            self._membership.catch_up()
        for number, process in self.scene.processes.items():
            if process.worker._memory:
                raise Violation(f"workers forget what was dropped; {number} holds {list(process.worker._memory)}")
        for worker in self._membership.workers.values():
            if worker.open_tasks or worker.open_stores:
                raise Violation(
                    f"no task or store stays open; worker {worker.id}: {worker.open_tasks}, {worker.open_stores}"
                )

    def require_events(self) -> None:
        """Each task has left one event."""
        told = Counter((event.round_index, event.worker) for event in self.events)
        if self._asked - told.keys() or max(told.values()) > 1:
            raise Violation(f"a task leaves one event; {told.most_common(1)}, none: {self._asked - told.keys()}")


def is_enough(until: StoppingRule, responses: Responses) -> bool:
    """Whether there are as many responses as a rule says, by counting alone."""
    if not isinstance(until, EveryPiece):
        return _are_enough(until, set(responses.workers))
    start, count = until.layout.start, until.layout.pieces
    holders = [
        {worker for worker, done in responses.done.items() if (piece - start(worker)) % count < done}
        for piece in range(count)
    ]
    return all(_are_enough(until.rule, workers) for workers in holders)


def _are_enough(until: StoppingRule, workers: set[int]) -> bool:
    if isinstance(until, AnyOfEach):
        return all(group & workers for group in until.groups)
    return len(workers) >= until.needed
