"""Rounds in pieces: when they end, and when the master asks the workers for their finished pieces.

A worker sends a word of a few bytes when its first piece is done, and keeps its answers until the master asks
for them and the worker has done the requested number of pieces, or its share. From the words the master knows the speed
of each worker in this very round, and the time at which the round will be decodable; it asks a little before. So an
undisturbed round takes as long as an uncoded one, and a worker that is slow, or begins late, counts with the pieces
that it has done by then. Where earlier rounds tell when answers are due (`coded_als.cluster.foresight`), workers send them
unasked, and the master asks only if they do not suffice, and only the workers whose further pieces are needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.cluster.backups import BackupPolicy, Backups
from coded_als.cluster.machine import Machine
from coded_als.cluster.rules import AnyOfEach, Fastest, WellConditioned
from coded_als.cluster.seam import StoppingRule
from coded_als.codes.pieces import Done, PieceLayout
from coded_als.codes.product import MatrixCode
from coded_als.errors import CodedALSError

# If the answer of a worker is late by so many of its pieces, the worker has stalled: the master expects nothing more
# of it until it answers again.
STALLED_PIECES = 2.0
# Shares of less work stay whole: to decode some thirty pieces, and to know their errors, takes the master some 10 ms.
SHORT_S = 0.05
# The seconds that pieces save must be so many times the master's seconds for a message of each worker.
WORTH_MESSAGES = 4
# The master computes again when a round will be decodable once the round has lasted longer by this fraction: each
# computation costs about as much as decoding.
AGAIN_AFTER = 0.02
# The master checks again whether a round can be decodable soon once the round has lasted longer by this fraction: each
# check goes through all pieces of all workers.
LOOK_AFTER = 0.001


@dataclass(frozen=True)
class EveryPiece:
    """Stop when the answers to every piece satisfy a rule."""

    rule: StoppingRule  # for the workers that have answered one piece
    layout: PieceLayout  # which pieces the first of a worker are
    # whether each answer is one piece's part of a sum, as large as a whole response, which a worker sends unasked
    summed: bool = False
    backups: BackupPolicy | None = None  # policy of second copies; None where workers go on with their pieces unasked
    # seconds after it has its task at which each worker answers with its finished pieces, unasked and without a word
    # before; infinite: workers say when their first piece is done, and are asked
    due_s: float = np.inf

    @property
    def needed(self) -> int:
        return self.rule.needed

    def satisfied(self, responded: Sequence[int]) -> bool:
        """Whether these workers suffice when each of them has done all of its share."""
        return self.rule.satisfied(responded)

    def decodable(self, done: Done) -> bool:
        """Whether the round may end when each worker has done its first so many pieces."""
        if not done or int(self.layout.counts(done).min()) < self.needed:
            return False
        return all(map(self.rule.satisfied, dict.fromkeys(self.layout.responded(done))))

    def answer_bytes(self, response_bytes: float) -> float:
        """Bytes of the answer to one piece, where a whole response takes so many."""
        return response_bytes if self.summed else response_bytes / self.layout.pieces

    @property
    def unasked(self) -> int:
        """The pieces that a worker does without being asked for more."""
        return self.layout.pieces if self.backups is None else 1

    def policy(self, machine: Machine, payload_bytes: float, response_bytes: float) -> Asking | Backups:
        """The state of one round from which its questions follow; bytes as in `Round`."""
        if self.backups is None:
            workers = self.layout.workers
            # a question reaches the last worker after all others have been asked, and its answer has a way too
            lead_s = machine.sending_s(workers, 0.0) + machine.latency_s
            given_s = machine.sending_s(workers, payload_bytes) + machine.latency_s
            read_s = machine.sending_s(workers, response_bytes * self.needed / workers) + machine.latency_s
            return Asking(self, lead_s, given_s + self.due_s + read_s if self.due_s < np.inf else 0.0)
        assert isinstance(self.rule, AnyOfEach), "second copies are of blocks"
        return Backups(self.rule.groups, self.backups, RoundProgress(self.layout))

    @property
    def counted(self) -> StoppingRule:
        """The rule of one piece, which counts answers and does not evaluate a code's error estimate."""
        return Fastest(self.needed) if isinstance(self.rule, WellConditioned) else self.rule

    @property
    def holders(self) -> tuple[list[list[int]], int]:
        """The workers that compute the same pieces, and the answers of them that each piece needs."""
        if isinstance(self.rule, AnyOfEach):
            return [sorted(group) for group in self.rule.groups], 1
        return [[*range(self.layout.workers)]], self.needed

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        return self.rule.refusal(reachable)


def pieces_for(code: MatrixCode, work_s: float, height: int, machine: Machine) -> int:
    """Pieces of each share where that is left open: at least one for each worker, or one where rounds are short.

    An undisturbed round in pieces ends when each worker has done p/W of its share, of ``work_s`` seconds; the saving
    must exceed the cost of the messages and of the master's work on each piece. ``height``: rows of a response.
    """
    spared_s = work_s * (1 - code.recovery_threshold / code.workers)
    worth = work_s >= SHORT_S and spared_s >= WORTH_MESSAGES * code.workers * machine.message_s
    return min(code.workers, height) if worth else 1


def pieces_of_sum(workers: int, blocks: int, work_s: float, response_bytes: float, machine: Machine) -> int:
    """Pieces of each block of sparse rows where that is left open: as many as copies, or one where that saves nothing.

    Each piece of a block is answered by as many numbers as the block; workers that share cores take turns at whole blocks.
    """
    copies = workers // blocks
    spared_s, further_s = work_s * (1 - 1 / copies), machine.sending_s((copies - 1) * blocks, response_bytes)
    shared = machine.cores is not None and machine.cores < workers
    return 1 if shared or work_s < SHORT_S or spared_s < further_s else copies


@dataclass(frozen=True)
class Question:
    """A question to workers, and its time."""

    at_s: float  # time of the question on the clock of the round
    # number of pieces that each asked worker must have done before it answers; 0: as many as it has
    pieces: Mapping[int, int]


class RoundProgress:
    """The master's knowledge of each worker in one round; seconds on the clock of the round. ``layout``: the pieces."""

    def __init__(self, layout: PieceLayout) -> None:
        workers = layout.workers
        self.layout = layout
        self.counted: NDArray[np.int64] = np.zeros(workers, dtype=np.int64)
        self.asked: NDArray[np.int64] = np.zeros(workers, dtype=np.int64)
        # when the work of each seems to have begun, the seconds that it had its task by then, and those for each piece
        self.begun_s: Array = np.full(workers, np.inf)
        self.waited_s: Array = np.full(workers, np.inf)
        self.piece_s: Array = np.full(workers, np.inf)
        self.stalled: NDArray[np.bool_] = np.zeros(workers, dtype=np.bool_)
        # nothing will come of those that were lost, until they are heard again
        self.gone: NDArray[np.bool_] = np.zeros(workers, dtype=np.bool_)

    @property
    def done(self) -> dict[int, int]:
        """The answers that count: the first so many pieces of each worker."""
        return {int(worker): int(self.counted[worker]) for worker in np.flatnonzero(self.counted)}

    @property
    def paces(self) -> dict[int, tuple[float, float]]:
        """Seconds that each worker had its task before it began, and took for each piece; of those that were heard."""
        heard = np.flatnonzero(np.isfinite(self.piece_s)).tolist()
        return {worker: (float(self.waited_s[worker]), float(self.piece_s[worker])) for worker in heard}

    def hear(self, worker: int, begun_s: float, pieces: int, computed_s: float, waited_s: float = 0.0) -> None:
        """Note a worker's report: when its work began, its finished pieces, their seconds of work, and those before."""
        if pieces:
            self.begun_s[worker], self.piece_s[worker] = begun_s, computed_s / pieces
            self.waited_s[worker] = waited_s
        self.stalled[worker] = self.gone[worker] = False

    @property
    def answered(self) -> bool:
        """Whether each worker has answered or is gone."""
        return bool(((self.counted > 0) | self.gone).all())

    def count(self, worker: int, pieces: int) -> None:
        """The answers to a worker's first pieces are there."""
        self.counted[worker] = max(self.counted[worker], pieces)

    def lose(self, worker: int) -> None:
        """Expect nothing more of a worker until it answers again; its counted pieces stay counted."""
        self.begun_s[worker] = self.piece_s[worker] = np.inf
        self.asked[worker], self.stalled[worker], self.gone[worker] = 0, False, True

    def forget(self, worker: int) -> None:
        """Nothing of a worker counts."""
        self.lose(worker)
        self.counted[worker] = 0

    def stalls_s(self) -> float:
        """Seconds at which the first worker that owes an answer will have stalled."""
        owes = (self.asked > self.counted) & ~self.stalled
        with np.errstate(invalid="ignore"):
            late_s = self.begun_s + (self.asked + STALLED_PIECES) * self.piece_s
        return float(np.nextafter(np.min(late_s[owes], initial=np.inf), np.inf))

    def expected_s(self, now_s: float) -> Array:
        """Seconds at which each worker should have done each piece, (W, c).

        They are -inf if it has answered, and inf if it has stalled or its speed is unknown.
        """
        places = self.layout.places
        with np.errstate(invalid="ignore"):
            late_s = self.begun_s + (self.asked + STALLED_PIECES) * self.piece_s
            self.stalled |= (self.asked > self.counted) & (late_s < now_s)
            expected = self.begun_s[:, np.newaxis] + (places + 1) * self.piece_s[:, np.newaxis]
        expected[np.isnan(expected) | self.stalled[:, np.newaxis]] = np.inf
        expected[places < self.counted[:, np.newaxis]] = -np.inf
        return expected


def next_question(now_s: float, progress: RoundProgress, until: EveryPiece, lead_s: float) -> Question | None:
    """The next question, as far as is known now; None where nothing can be expected yet.

    ``lead_s``: seconds that a question takes to all workers. Stalled workers are asked at once for their finished
    pieces.
    """
    expected = progress.expected_s(now_s)
    end_s = decodable_s(expected, until)
    stuck = np.flatnonzero(progress.stalled & (progress.asked > 0))
    if stuck.size:
        return Question(now_s, dict.fromkeys(stuck.tolist(), 0))
    if not np.isfinite(end_s):
        return None
    wanted = (expected <= end_s).sum(axis=1)
    more = np.flatnonzero((wanted > progress.counted) & (wanted > progress.asked))
    if more.size:
        more = _necessary(more, wanted, progress, until)
    if not more.size:
        return None
    return Question(max(now_s, end_s - lead_s), {int(worker): int(wanted[worker]) for worker in more})


def _necessary(
    asked: NDArray[np.intp], wanted: NDArray[np.int64], progress: RoundProgress, until: EveryPiece
) -> NDArray[np.intp]:
    """Those of the workers to be asked without whose further pieces the round could not be decoded.

    Pieces that were asked for before are on their way.
    """
    places, (groups, fewest) = progress.layout.places, until.holders
    holds = np.array([np.isin(np.arange(len(places)), group) for group in groups])
    coming = np.where(progress.stalled, 0, np.minimum(progress.asked, wanted))
    kept, had = wanted.copy(), np.maximum(progress.counted, coming)
    counts = holds.astype(np.int64) @ (places < wanted[:, np.newaxis])
    for worker in asked[np.argsort(wanted[asked] - had[asked], kind="stable")]:
        new = (places[worker] >= had[worker]) & (places[worker] < wanted[worker])
        without = counts - holds[:, worker, np.newaxis] * new
        if without.min() >= fewest:
            counts, kept[worker] = without, had[worker]
    spared = until.decodable({int(worker): int(kept[worker]) for worker in np.flatnonzero(kept)})
    return asked[kept[asked] > had[asked]] if spared else asked


def soonest_s(now_s: float, progress: RoundProgress, needed: int) -> float:
    """The moment before which no round can be decodable: until then some piece has too few answers."""
    return _fewest_s(progress.expected_s(now_s), needed)


def _fewest_s(expected: Array, needed: int) -> float:
    """Seconds at which the last of the pieces has as many answers as it needs."""
    if needed > len(expected):
        return np.inf
    return float(np.partition(expected, needed - 1, axis=0)[needed - 1].max())


def decodable_s(expected: Array, until: EveryPiece) -> float:
    """The moment by which a round can be decoded, from those at which each worker has done each piece, (W, c).

    Infinite where none can be expected. The search begins where every piece has as many answers as are needed.
    """
    first_s = _fewest_s(expected, until.needed)
    moments = np.unique(expected[np.isfinite(expected) & (expected >= first_s)])
    if not moments.size:
        return np.inf
    refused, index, step = -1, 0, 1
    while not (decodable := _decodable_at(float(moments[index]), expected, until)) and index < moments.size - 1:
        refused, index, step = index, min(index + step, moments.size - 1), 2 * step
    if not decodable:
        return np.inf
    tried = moments[refused + 1 : index].tolist()
    place = bisect_left(tried, True, key=lambda moment_s: _decodable_at(moment_s, expected, until))
    return float(moments[refused + 1 + place])


def _decodable_at(moment_s: float, expected: Array, until: EveryPiece) -> bool:
    counts = (expected <= moment_s).sum(axis=1)
    return until.decodable({int(worker): int(counts[worker]) for worker in np.flatnonzero(counts)})


class Asking:
    """The questions of one round, and the times at which the master has to work them out.

    ``until``: the rule of the round; ``lead_s``: seconds that a question takes to all workers and back; ``read_s``: when the
    answers that are due will have been read, on the clock of the round: nobody is asked before, unless all have answered.
    """

    def __init__(self, until: EveryPiece, lead_s: float, read_s: float = 0.0) -> None:
        self.progress = RoundProgress(until.layout)
        self._until, self._lead_s = until, lead_s
        self._ask_s = self._stalled_s = np.inf
        self._look_s, self._again_s, self._read_s = 0.0, 0.0, read_s
        self._put_off = False

    @property
    def own_answers(self) -> Mapping[int, float]:
        """Times of answers to workers' own tasks, of which there are none."""
        return {}

    @property
    def next_s(self) -> float:
        """Time of the next call of `questions`, on the clock of the round."""
        return min(self._ask_s, self._stalled_s)

    def note(self, now_s: float) -> None:
        """Account for news of a worker."""
        if self._until.summed:
            return
        if now_s < self._read_s and not self.progress.answered:
            self._look_s = self._read_s
        self._put_off = now_s < self._look_s
        if self._put_off:
            self._ask_s = min(self._ask_s, self._look_s)
            return
        self._look_s = now_s * (1 + LOOK_AFTER)
        soonest = soonest_s(now_s, self.progress, self._until.needed)
        # if all answers are there and do not decode, only a further piece can help
        self._ask_s = max(now_s, self._again_s, soonest - self._lead_s)

    def questions(self, now_s: float) -> Mapping[int, int]:
        """The `Question.pieces` that some workers are asked for now; empty before the time of the question."""
        if self._put_off:
            self.note(now_s)
            if self.next_s > now_s:
                return {}
        self._again_s = now_s * (1 + AGAIN_AFTER)
        self._ask_s = self._stalled_s = np.inf
        question = next_question(now_s, self.progress, self._until, self._lead_s)
        if question is not None and question.at_s > now_s:
            self._ask_s = question.at_s
            return {}
        for worker, pieces in () if question is None else question.pieces.items():
            self.progress.asked[worker] = pieces
        self._stalled_s = self.progress.stalls_s()
        return {} if question is None else question.pieces
