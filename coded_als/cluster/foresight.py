"""Foresight from the earlier rounds of a product: the time of the answers of its next one, and the starts of workers.

A worker that knows when its answers are due sends one message in a round, and needs no question. If they do not suffice
by then, the master knows the paces of this round, and asks those workers whose further pieces are needed.
Where each worker keeps its pace from round to round, the workers begin where the arcs of pieces that they are expected
to do lie end to end; they do so only while such arcs would have ended the last rounds sooner than an even start.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.seam import Responses
from coded_als.codes.pieces import PieceLayout, arcs

if TYPE_CHECKING:
    from coded_als.cluster.piecewise import Played

# Rounds that are remembered, and those that must be known before one is foreseen.
REMEMBERED, FEWEST = 6, 2
# Answers are due so much later than the round is expected to be decodable.
MARGIN = 0.005
# Arcs must have ended the last rounds sooner by this part, of at least two rounds that they were not made from.
PROVED, FEWEST_PROOFS = 0.03, 2


@dataclass(frozen=True)
class Paces:
    """One round's seconds of each worker before its work, and for the work of a whole share, (W,); infinite if unheard."""

    waited_s: Array
    share_s: Array

    def done_s(self, layout: PieceLayout) -> Array:
        """Seconds after which each worker has done each piece, (W, c)."""
        with np.errstate(invalid="ignore"):
            done_s = self.waited_s[:, np.newaxis] + (layout.places + 1) * self.share_s[:, np.newaxis] / layout.pieces
        return np.asarray(done_s)

    def end_s(self, until: EveryPiece) -> float:
        """Seconds after which every piece has the answers that it needs."""
        done_s, (groups, needed) = self.done_s(until.layout), until.holders
        return max(float(np.partition(done_s[group], needed - 1, axis=0)[needed - 1].max()) for group in groups)


class Foresight:
    """The paces of the last rounds of one product.

    Paces count the seconds from the moment at which a worker has its task.
    """

    def __init__(self) -> None:
        self._rounds: deque[tuple[Paces, float]] = deque(maxlen=REMEMBERED)

    def learn(self, responses: Responses | Played, until: EveryPiece, operations: float) -> None:
        """Account for a round of so many operations."""
        waited_s, share_s = np.full((2, until.layout.workers), np.inf)
        for worker, (waited, piece_s) in responses.paces.items():
            waited_s[worker], share_s[worker] = waited, piece_s * until.layout.pieces
        self._rounds.append((Paces(waited_s, share_s), operations))

    def foreseen(self, until: EveryPiece, operations: float) -> EveryPiece:
        """The rule of the next round of so many operations, with the starts of workers and the time of their answers."""
        rounds = [Paces(one.waited_s, one.share_s * operations / (did or 1.0)) for one, did in self._rounds]
        if len(rounds) < FEWEST:
            return until
        until = _in_arcs(until, rounds)
        due_s = float(np.quantile([one.end_s(until) for one in rounds], 0.5, method="lower"))
        return replace(until, due_s=due_s * (1 + MARGIN))


def _in_arcs(until: EveryPiece, rounds: list[Paces]) -> EveryPiece:
    """The rule with arcs by speed, if such arcs would have ended the later of these rounds sooner."""
    tried = range(1, len(rounds))
    if len(tried) < FEWEST_PROOFS:
        return until
    even_s = sum(rounds[index].end_s(until) for index in tried)
    arcs_s = sum(rounds[index].end_s(_with_arcs(until, rounds[:index])) for index in tried)
    return _with_arcs(until, rounds) if arcs_s <= even_s * (1 - PROVED) else until


def _with_arcs(until: EveryPiece, rounds: list[Paces]) -> EveryPiece:
    """The rule with arcs by the median paces of some rounds."""
    layout, (groups, turns) = until.layout, until.holders
    usual = Paces(*(np.median([getattr(one, name) for one in rounds], axis=0) for name in ("waited_s", "share_s")))
    done_s = usual.done_s(replace(layout, starts=(0,) * layout.workers))
    starts = np.zeros(layout.workers, dtype=np.int64)
    for group in groups:
        ends_s = np.partition(done_s[group].ravel(), turns * layout.pieces - 1)[turns * layout.pieces - 1]
        starts[group] = arcs((done_s[group] <= ends_s).sum(axis=1), turns, layout.pieces)
    return replace(until, layout=replace(layout, starts=tuple(starts.tolist())))
