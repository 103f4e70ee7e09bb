"""Second copies of late tasks, as engineers send them: hedged requests, and speculative execution.

Each block of a product lies on two workers and is cut into two tasks, one for each of them: the first piece of its share,
in the order of `coded_als.codes.pieces`. A worker that has answered its task waits. When a policy finds that a task is
late, the master asks the other holder of the block for that task too. A policy is a pure function of the times of the
answers so far; it never sends more than one second copy of a task.

Sources: J. Dean and L. Barroso, "The tail at scale", CACM 56, 2013 (hedged requests); the settings
``spark.speculation.quantile`` and ``spark.speculation.multiplier`` of Apache Spark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from coded_als.arrays import Array
from coded_als.codes.family import CodeSpec
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.replication import HedgedCopies, SpeculativeCopies

if TYPE_CHECKING:
    from coded_als.cluster.questions import EveryPiece, RoundProgress
    from coded_als.cluster.seam import Responses


class BackupPolicy(Protocol):
    """A rule that decides from the answers so far when a task is late."""

    def late_s(self, answered_s: Array, workers: int) -> Array:
        """Seconds of a round from which every open task is late, unless more answers come before.

        ``answered_s``: times of the answers so far, ascending, (..., answers): of one round, or of many; ``workers``:
        number of tasks W.
        """
        ...

    def learned(self, answered_s: Array) -> Self:
        """The policy for the next round, from the times of all tasks of earlier rounds; infinite without an answer."""
        ...


@dataclass(frozen=True)
class Hedged:
    """A task is late after a quantile of the times of earlier rounds; never in the first round."""

    quantile: float = 0.95  # part of earlier tasks that had answered by then
    after_s: float = math.inf  # that time

    def late_s(self, answered_s: Array, workers: int) -> Array:
        return np.full(answered_s.shape[:-1], self.after_s)

    def learned(self, answered_s: Array) -> Self:
        if not np.isfinite(answered_s).any():
            return self
        after_s = float(np.quantile(answered_s, self.quantile, method="higher"))
        longest_s = float(answered_s[np.isfinite(answered_s)].max())
        return replace(self, after_s=min(after_s, longest_s))


@dataclass(frozen=True)
class Speculative:
    """A task is late when enough others have answered, and it takes several times their median."""

    after: float = 0.75  # part of the tasks that must have answered
    times: float = 1.5  # multiple of the median of their times

    def late_s(self, answered_s: Array, workers: int) -> Array:
        count = answered_s.shape[-1]
        if count < max(1, math.ceil(self.after * workers)):
            return np.full(answered_s.shape[:-1], np.inf)
        median_s = (answered_s[..., (count - 1) // 2] + answered_s[..., count // 2]) / 2
        return np.maximum(answered_s[..., -1], self.times * median_s)

    def learned(self, answered_s: Array) -> Self:
        return self


def backups_of(code: CodeSpec) -> BackupPolicy | None:
    """The policy of a SPEC; None for all but those that send second copies."""
    match code:
        case HedgedCopies():
            return Hedged(code.quantile)
        case SpeculativeCopies():
            return Speculative(code.after, code.times)
    return None


class BackupMemory:
    """A policy that learns from the rounds of a fit. ``policy``: the policy of the first round."""

    def __init__(self, policy: BackupPolicy) -> None:
        self.policy, self._answered_s = policy, np.empty(0)

    def foreseen(self, until: EveryPiece, operations: float) -> EveryPiece:
        """The rule of the next round."""
        return replace(until, backups=self.policy)

    def learn(self, responses: Responses, until: EveryPiece, operations: float) -> None:
        """Account for a round, by the times of the answers to workers' own tasks."""
        own = [responses.answered_s.get(worker, np.inf) for worker in range(until.layout.workers)]
        self._answered_s = np.concatenate([self._answered_s, own])
        self.policy = self.policy.learned(self._answered_s)


class Backups:
    """The second copies of one round, and the times at which the master has to look for late tasks.

    ``groups``: the holders of each block; ``policy``: when tasks are late; ``progress``: the answers so far.
    """

    def __init__(self, groups: Iterable[frozenset[int]], policy: BackupPolicy, progress: RoundProgress) -> None:
        self.progress, self._policy = progress, policy
        self.answered_s: Array = np.full(progress.layout.workers, np.inf)  # when each task was answered by its owner
        self._holders = {worker: sorted(group) for group in groups for worker in group}
        self._late, self._noted = False, True

    def note(self, now_s: float) -> None:
        """Account for news of a worker."""
        self.answered_s[(self.progress.counted > 0) & np.isinf(self.answered_s)] = now_s
        self._noted = True

    @property
    def own_answers(self) -> Mapping[int, float]:
        """When each worker's own task was answered."""
        return {int(worker): float(self.answered_s[worker]) for worker in np.flatnonzero(np.isfinite(self.answered_s))}

    @property
    def next_s(self) -> float:
        """Time of the next call of `questions`, on the clock of the round."""
        if self._noted:
            return 0.0
        return math.inf if self._late else self._late_s()

    def questions(self, now_s: float) -> Mapping[int, int]:
        """The pieces that some workers are asked for now: the late tasks of others."""
        self._noted = False
        # a task that was found late stays so, as in Spark: it is copied as soon as a holder has time
        self._late = self._late or self._late_s() <= now_s
        asked: dict[int, int] = {}
        is_open = (self.progress.counted == 0) & (self._late | self.progress.gone)
        for owner in np.flatnonzero(is_open).tolist():
            helper = self._helper(owner, self._holders[owner])
            if helper is not None:
                worker, pieces = helper
                self.progress.asked[worker] = asked[worker] = pieces
        return asked

    def _late_s(self) -> float:
        answered_s = np.sort(self.answered_s[np.isfinite(self.answered_s)])
        return float(self._policy.late_s(answered_s, len(self.answered_s)))

    def _helper(self, owner: int, holders: Sequence[int]) -> tuple[int, int] | None:
        """The idle holder that is asked for a late task, and the pieces that it then has done; None without any."""
        counted, asked = self.progress.counted, self.progress.asked
        places = self.progress.layout.places[:, self.progress.layout.start(owner)]
        if any(max(counted[other], asked[other]) > places[other] for other in holders):
            return None
        idle = [(int(places[other]), other) for other in holders if counted[other] and asked[other] <= counted[other]]
        return (min(idle)[1], min(idle)[0] + 1) if idle else None


def backed_waiting_s(
    first_s: Array, again_s: Array, groups: Iterable[frozenset[int]], layout: PieceLayout, policy: BackupPolicy
) -> Array:
    """Seconds until each of T rounds ends, (T,); the policy has learned from all of them.

    ``first_s``: when the answer to each worker's own task is there, (T, W); ``again_s``: seconds from the question for a
    second copy to its answer, of the worker that is asked, (T, W); ``groups``: the holders of each block.
    """
    late_s = _late_moments(np.sort(first_s, axis=1), policy.learned(first_s))
    draws, ends_s = np.arange(len(first_s)), np.zeros(len(first_s))
    for group in groups:
        for piece in range(layout.pieces):
            owners = [worker for worker in group if layout.start(worker) == piece]
            helpers = np.array([worker for worker in group if layout.start(worker) != piece])
            own_s = first_s[:, owners].min(axis=1)
            helper = helpers[first_s[:, helpers].argmin(axis=1)]
            # a worker that never responds is known to be lost
            asked_s = np.maximum(np.where(np.isinf(own_s), 0.0, late_s), first_s[draws, helper])
            ends_s = np.maximum(ends_s, np.minimum(own_s, asked_s + again_s[draws, helper]))
    return ends_s


def _late_moments(answered_s: Array, policy: BackupPolicy) -> Array:
    """From when the open tasks of each of T rounds are late, (T,), by the ascending times of all answers, (T, W)."""
    workers, found_s = answered_s.shape[1], np.full(len(answered_s), np.inf)
    for count in range(workers):
        late_s = policy.late_s(answered_s[:, :count], workers)
        found_s = np.where((late_s < answered_s[:, count]) & np.isinf(found_s), late_s, found_s)
    return found_s
