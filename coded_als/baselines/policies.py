"""Straggler policies of uncoded ALS: wait, replicate, or go on without the slow workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from coded_als.checks import require_whole
from coded_als.cluster import AnyOfEach, EnoughAndOverdue, StoppingRule, all_of
from coded_als.errors import UsageError
from coded_als.specs import read_fields


class StragglerPolicy(Protocol):
    """How rows are cut into shards, who holds which, and when a half-step may end."""

    def shards(self, workers: int) -> int:
        """Number of shards; worker w holds shard ``w % shards``."""
        ...

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        """When to go on; ``skipped[s]`` counts the rounds in a row that shard s has missed.

        Parameters
        ----------
        workers
            W.
        skipped
            Rounds in a row that each shard has missed.
        """
        ...


@dataclass(frozen=True)
class WaitForAll:
    """One shard per worker, every one of them needed."""

    def shards(self, workers: int) -> int:
        return workers

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        return all_of(workers)


@dataclass(frozen=True)
class FirstCopy:
    """Every shard on ``copies`` workers; the first response wins. ``copies`` must divide the number of workers."""

    copies: int = 2

    def __post_init__(self) -> None:
        require_whole("copies", self.copies, 1)

    def shards(self, workers: int) -> int:
        if workers % self.copies:
            raise UsageError(f"workers must be a multiple of copies={self.copies}; got {workers}. Change one of them.")
        return workers // self.copies

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        count = len(skipped)
        return AnyOfEach(tuple(frozenset(range(shard, workers, count)) for shard in range(count)))


@dataclass(frozen=True)
class Partial:
    """Go on when ``wait_for`` shards have responded; the others keep their factors for now.

    A shard that has missed ``max_skips`` rounds of its side in a row is waited for, and so is every shard in the
    first round. Whatever is skipped, the objective cannot rise: a responded row is optimal, the others stand still.
    """

    wait_for: int
    max_skips: int = 3

    def __post_init__(self) -> None:
        require_whole("wait_for", self.wait_for, 1)
        require_whole("max_skips", self.max_skips, 0)

    def shards(self, workers: int) -> int:
        if self.wait_for > workers:
            raise UsageError(f"wait_for must be at most the {workers} workers; got {self.wait_for}. Lower it.")
        return workers

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        overdue = frozenset(shard for shard, rounds in enumerate(skipped) if rounds >= self.max_skips)
        return EnoughAndOverdue(self.wait_for, overdue)


POLICIES: dict[str, type[StragglerPolicy]] = {"wait": WaitForAll, "first-copy": FirstCopy, "partial": Partial}


def parse_policy(spec: str) -> StragglerPolicy:
    """The policy of a SPEC: ``wait``, ``first-copy:copies=2``, ``partial:wait_for=12,max_skips=3``.

    Raises
    ------
    UsageError
        For an unknown policy, and for an unknown, missing or unreadable parameter.

    Examples
    --------
    >>> parse_policy("partial:wait_for=12")
    Partial(wait_for=12, max_skips=3)
    """
    name = spec.partition(":")[0]
    if name not in POLICIES:
        raise UsageError(f"policy must be one of {', '.join(POLICIES)}; got {name!r}. Choose from them.")
    return POLICIES[name](**read_fields("policy", spec, POLICIES[name], _whole))


def _whole(key: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{key} must be a whole number; got {text!r}. Correct it.")
    return int(text)
