"""The master's knowledge of one worker, and of its part of a round."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

# Tasks without a response that one worker may have: the one at hand and the one that supersedes it.
MOST_OPEN_TASKS = 2
# Stored arrays without an acknowledgement: what one stopped worker may cost the master.
MOST_OPEN_STORES = 8


@dataclass(frozen=True)
class Assignment:
    """One worker's part of a round, until its event is written."""

    round_index: int
    label: str
    worker: int
    sent_s: float | None = None
    attempt: int = 0


@dataclass
class WorkerState:
    """A worker that has joined.

    Parameters
    ----------
    id
        Its number, 0 ... W - 1.
    route
        Its routing id, new with every start of the process.
    process_id
        As it says.
    heard_s
        When it last said anything, on the membership's clock.
    alive
        Whether its connection stands.
    lost_s
        When it was last lost, on the membership's clock.
    held
        The version that it holds of each stored array.
    open_tasks
        Sent, but neither responded to nor given up, by round.
    open_stores
        Bytes of the arrays that it has not acknowledged, by version.
    loading
        Versions of the arrays that it was to load from its own machine, since it joined.
    untidy
        Whether it may hold arrays that are of no use any more.
    behind
        Whether it lacks stored arrays, which it is being given.
    asked_s
        Since when it has owed a sign of life, or None.
    silent
        Whether it has owed one for too long.
    memory
        Name of the memory that it shares with the master, if any.
    """

    id: int
    route: bytes
    process_id: int
    heard_s: float
    alive: bool = True
    lost_s: float = -math.inf
    held: dict[str, int] = field(default_factory=dict)
    open_tasks: dict[int, Assignment] = field(default_factory=dict)
    open_stores: dict[int, int] = field(default_factory=dict)
    loading: set[int] = field(default_factory=set)
    untidy: bool = False
    behind: bool = False
    asked_s: float | None = None
    silent: bool = False
    memory: str = ""

    @property
    def has_credit(self) -> bool:
        """Whether one more task may be sent."""
        return len(self.open_tasks) < MOST_OPEN_TASKS

    def holds(self, stamps: Iterable[tuple[str, int]]) -> bool:
        """Whether it has exactly these versions."""
        return all(self.held.get(name) == version for name, version in stamps)
