"""The pieces of a worker's task: which rows come next, which are done, and whether the master must hear of it."""

from __future__ import annotations

import math

import numpy as np

from coded_als.arrays import Array
from coded_als.wire import Task

# A pace that is this much off the one that the master was told is news, once twice as many pieces are done.
NEWS = 0.1


class Pieces:
    """The pieces of one task; ``received``: when the worker received it, on its clock."""

    def __init__(self, task: Task, received: float = 0.0) -> None:
        self.task, self.received = task, received
        self.due = received + task.due_s  # when it is to answer unasked; infinite once it has
        self.done, self.computed_s = 0, 0.0
        # how many are to be done when the master wants them; 0: it has not asked, or has been answered
        self.asked = 0
        # how many may be done before the master has asked for more
        self.limit = task.unasked or task.pieces
        self._unsent: list[Array] = []
        self._told, self._told_piece_s = 0, 0.0

    @property
    def complete(self) -> bool:
        """Whether all are done."""
        return self.done == self.task.pieces

    @property
    def waits(self) -> bool:
        """Whether more are left, and the master has not asked for them."""
        return self.limit <= self.done < self.task.pieces

    @property
    def next(self) -> int:
        """The number of the next piece."""
        return (self.task.start + self.done) % self.task.pieces

    def add(self, rows: Array, computed_s: float) -> None:
        """The next piece is done, (planes, rows, columns), after so many seconds of work on all of them."""
        self.computed_s = computed_s
        self._unsent.append(rows)
        self.done += 1

    def take(self) -> Array | None:
        """The rows that were not sent yet, (planes, rows, columns), or the one part of a sum; None where there are none."""
        unsent, self._unsent = self._unsent, []
        if len(unsent) == 1:
            return unsent[0]
        return np.concatenate(unsent, axis=1) if unsent else None

    def is_news(self) -> bool:
        """Whether the master cannot know how far this is, nor will soon: it is the first piece, or the pace has changed."""
        if self.due < math.inf:
            return False
        known = self._told and abs(self.computed_s - self.done * self._told_piece_s) <= NEWS * self.computed_s
        if known or self.done < 2 * self._told:
            return False
        self.tell()
        return True

    def tell(self) -> None:
        """The master is told of these pieces."""
        if self.done:
            self._told, self._told_piece_s = self.done, self.computed_s / self.done
