"""A round in pieces on a virtual clock: words, questions and answers through one link, and the moment at which it ends."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.held import HeldArrays, counted_answers, excluded_from, require_one_product
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.rules import best_there_is, refusal_of
from coded_als.cluster.seam import Round, Status
from coded_als.cluster.waiting import RoundCost
from coded_als.delays import Disturbance


@dataclass(frozen=True)
class Played:
    """The course of a round in pieces."""

    # seconds until its last answer that counts was there; infinite where it never ends
    elapsed_s: float = 0.0
    # number of pieces of each worker with answers that count, in the order of their first answers
    done: Mapping[int, int] = field(default_factory=dict)
    heard_s: Mapping[int, float] = field(default_factory=dict)  # when the last answer of each of them was there
    messages: int = 0  # messages of any kind that the master sent or received
    # when each worker's own task was answered, in a round with second copies
    answered_s: Mapping[int, float] = field(default_factory=dict)
    paces: Mapping[int, tuple[float, float]] = field(default_factory=dict)


# An answer's pieces are checked when it arrives: whether it counts.
Accept = Callable[[int], bool]


def play(
    cost: RoundCost,
    until: EveryPiece,
    drawn: Disturbance,
    machine: Machine,
    accept: Accept = lambda worker: True,
    excluded: frozenset[int] = frozenset(),
) -> Played:
    """Play one round to the answer that lets it end, or to the last answer.

    ``accept`` is asked once for each worker; the answers of one that is refused do not count, nor those of ``excluded``.
    """
    return _Play(cost, until, drawn, machine, accept, excluded).to_end()


Kind = Literal["word", "answer", "read", "ask", "trigger"]


@dataclass(order=True)
class _Event:
    """An event with its time; of events at equal times, the one that was scheduled first comes first."""

    at_s: float
    number: int
    kind: Kind = field(compare=False)
    worker: int = field(compare=False)
    pieces: int = field(compare=False, default=0)


class _Play:
    """The state of a round that is played."""

    def __init__(
        self,
        cost: RoundCost,
        until: EveryPiece,
        drawn: Disturbance,
        machine: Machine,
        accept: Accept,
        excluded: frozenset[int],
    ) -> None:
        workers, self._pieces = until.layout.workers, until.layout.pieces
        self._until, self._machine, self._accept = until, machine, accept
        work_s = machine.working_s(cost.operations, drawn.slowness)
        self._begun_s = cost.computed_s(drawn.delays_s, machine, drawn.slowness) - work_s
        self._received_s = cost.received_s(workers, machine)
        self._piece_s = work_s / self._pieces
        self._word_s = machine.sending_s(1, 0.0)
        self._answer_s = machine.sending_s(1, until.answer_bytes(cost.response_bytes)) - self._word_s
        self._asking = until.policy(machine, cost.payload_bytes, cost.response_bytes)
        self._free_s = machine.sending_s(workers, cost.payload_bytes)
        self._events: list[_Event] = []
        self._number, self.messages = 0, workers
        self._progress = self._asking.progress
        self._sent = np.zeros(workers, dtype=np.int64)
        self._order: dict[int, int] = {}
        self._heard_s: dict[int, float] = {}
        self._refused = set(excluded)
        self._foreseen_s = np.inf
        # the pieces after which each worker waits
        self._limit = np.full(workers, until.unasked)
        responds = np.isfinite(self._begun_s)
        for worker in np.flatnonzero(~responds).tolist():
            self._progress.lose(worker)
        for worker in np.flatnonzero(responds).tolist():
            if worker in excluded:
                continue
            if until.summed:
                for done in range(1, self._pieces):
                    self._foresee(self._finished_s(worker, done), "trigger", worker)
            elif until.unasked > 1:
                due_s = self._received_s + until.due_s
                if self._finished_s(worker, 1) <= due_s < np.inf:
                    self._foresee(due_s, "trigger", worker)
                else:
                    self._foresee(self._finished_s(worker, 1) + machine.latency_s, "word", worker, 1)
            self._foresee(self._finished_s(worker, until.unasked), "trigger", worker)

    def to_end(self) -> Played:
        """Let everything happen in its order until the round may end."""
        while self._events:
            event = heapq.heappop(self._events)
            if event.kind == "read":
                self._read(event)
                if event.pieces and self._until.decodable(self._order):
                    self._drain(event.at_s)
                    return self._played(event.at_s)
                self._asking.note(event.at_s)
                self._foresee_question()
            elif event.kind == "ask":
                self._foreseen_s = np.inf
                self._ask(event.at_s)
                self._foresee_question()
            elif event.kind == "trigger":
                self._trigger(event)
            else:
                self._arrive(event)
        settled = self._order and best_there_is(self._until.rule, tuple(self._order))
        return self._played(self._free_s if settled else np.inf)

    def _drain(self, now_s: float) -> None:
        """Learn from the answers that have arrived unread, which the master finds before its next round."""
        for event in self._events:
            if event.kind == "read" or (event.kind == "answer" and event.at_s <= now_s):
                self.messages += event.kind == "answer"
                self._hear(event.worker, max(event.pieces, 1))

    def _played(self, elapsed_s: float) -> Played:
        own = self._asking.own_answers
        return Played(elapsed_s, self._order, self._heard_s, self.messages, own, self._progress.paces)

    def _foresee(self, at_s: float, kind: Kind, worker: int, pieces: int = 0) -> None:
        self._number += 1
        heapq.heappush(self._events, _Event(at_s, self._number, kind, worker, pieces))

    def _finished_s(self, worker: int, pieces: int) -> float:
        return float(self._begun_s[worker] + pieces * self._piece_s[worker])

    def _done(self, worker: int, now_s: float) -> int:
        """Pieces that a worker has done by now."""
        if self._piece_s[worker] == 0:
            return int(self._limit[worker])
        # a piece that ends at this very moment is done: the margin absorbs rounding
        done = np.floor((now_s - self._begun_s[worker]) / self._piece_s[worker] * (1 + 1e-12) + 1e-9)
        return int(min(max(done, 0), self._limit[worker]))

    def _arrive(self, event: _Event) -> None:
        """A message is at the master, which reads one after the other; a word is 0 pieces of answers."""
        pieces = event.pieces if event.kind == "answer" else 0
        new = pieces - int(self._progress.counted[event.worker])
        self._free_s = max(event.at_s, self._free_s) + self._word_s + max(new, 0) * self._answer_s
        self.messages += 1
        self._foresee(self._free_s, "read", event.worker, pieces)

    def _read(self, event: _Event) -> None:
        worker = event.worker
        if worker in self._refused:
            return
        self._hear(worker, max(event.pieces, 1))
        if not event.pieces:
            return
        if worker not in self._order and not self._accept(worker):
            self._refused.add(worker)
            self._progress.lose(worker)
            return
        self._progress.count(worker, event.pieces)
        self._order[worker], self._heard_s[worker] = event.pieces, event.at_s

    def _hear(self, worker: int, pieces: int) -> None:
        """Note the worker's report that so many pieces are done."""
        sent_s, begun_s = self._finished_s(worker, pieces), float(self._begun_s[worker])
        self._progress.hear(worker, begun_s, pieces, sent_s - begun_s, begun_s - self._received_s)

    def _foresee_question(self) -> None:
        at_s = self._asking.next_s
        if at_s < self._foreseen_s:
            self._foreseen_s = at_s
            self._foresee(at_s, "ask", -1)

    def _ask(self, now_s: float) -> None:
        """Send the questions, one after the other, if it is time for them."""
        if now_s < self._asking.next_s:
            return
        for worker, pieces in self._asking.questions(now_s).items():
            self._free_s = max(now_s, self._free_s) + self._word_s
            self.messages += 1
            received_s = self._free_s + self._machine.latency_s
            self._go_on(worker, pieces, received_s)
            self._foresee(max(received_s, self._finished_s(worker, pieces)), "trigger", worker)

    def _go_on(self, worker: int, pieces: int, now_s: float) -> None:
        """A worker that waits for a question goes on with its pieces now."""
        if pieces > self._limit[worker]:
            self._begun_s[worker] += max(0.0, now_s - self._finished_s(worker, int(self._limit[worker])))
            self._limit[worker] = pieces

    def _trigger(self, event: _Event) -> None:
        """A worker sends the pieces that it has done since its last answer."""
        done = self._done(event.worker, event.at_s)
        if done > self._sent[event.worker]:
            self._sent[event.worker] = done
            self._foresee(event.at_s + self._machine.latency_s, "answer", event.worker, done)


def gather_pieces(
    arrays: HeldArrays,
    round: Round,
    until: EveryPiece,
    drawn: Disturbance,
    machine: Machine,
    left_out: dict[int, Status],
) -> tuple[dict[int, tuple[Array, ...]], Played]:
    """The answers that a round in pieces uses, (planes, rows, columns) of each worker or its parts of a sum; its course.

    It fills in ``left_out``.

    Raises NotEnoughWorkers, DecodingError when even all answers do not let the round end.
    """
    require_one_product(round)
    left_out.update(excluded_from(round))
    answers: dict[int, tuple[Array, ...]] = {}
    accept = arrays.accepts(round, until.layout, left_out, answers)
    played = play(RoundCost.of(round), until, drawn, machine, accept, round.excluded)
    if not np.isfinite(played.elapsed_s):
        raise refusal_of(until, tuple(played.done), left_out)
    return counted_answers(answers, played.done, until.summed), played


def pieces_done(until: EveryPiece, done: Mapping[int, int], workers: int) -> Array:
    """The part of its share that each worker did for its counted answers, (W,); 1 for a worker without any."""
    return np.array([done.get(worker, until.layout.pieces) / until.layout.pieces for worker in range(workers)])
