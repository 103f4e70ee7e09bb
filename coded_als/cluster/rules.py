"""Stopping rules: pure functions of the worker ids that have responded, in order of arrival."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from coded_als.cluster.seam import Status, StoppingRule
from coded_als.codes.product import MatrixCode
from coded_als.codes.replication import ReplicatedProduct, holders
from coded_als.codes.single import without_type
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers


def require_satisfiable(
    rule: StoppingRule, reachable: Sequence[int], left_out: Mapping[int, Status] = MappingProxyType({})
) -> None:
    """Raise unless the responses of all ``reachable`` workers would satisfy a rule, or it may be content with them.

    Raises NotEnoughWorkers, DecodingError as the rule decides.
    """
    if not (rule.satisfied(reachable) or best_there_is(rule, reachable)):
        raise refusal_of(rule, reachable, left_out)


def refusal_of(rule: StoppingRule, reachable: Sequence[int], left_out: Mapping[int, Status]) -> CodedALSError:
    """The rule's refusal; if workers were left out, the remedy names them as the cause."""
    error = rule.refusal(reachable)
    if not left_out:
        return error
    remedy = " ".join(
        reason.format(", ".join(str(worker) for worker in sorted(left_out) if left_out[worker] == status))
        for status, reason in REASONS.items()
        if status in left_out.values()
    )
    if isinstance(error, NotEnoughWorkers):
        return NotEnoughWorkers(error.alive, error.needed, remedy)
    return DecodingError(error.estimate, error.tolerance, remedy) if isinstance(error, DecodingError) else error


REASONS = {
    "refused": "Responses with NaN or infinity do not count (worker {}): scale the data or replace the workers.",
    "corrupt": "Responses that were found wrong do not count (worker {}): replace these workers.",
}


@dataclass(frozen=True)
class Fastest:
    """Stop at the k-th response."""

    k: int

    @property
    def needed(self) -> int:
        return self.k

    def satisfied(self, responded: Sequence[int]) -> bool:
        return len(responded) >= self.k

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        return NotEnoughWorkers(len(reachable), self.k)


@dataclass(frozen=True)
class AnyOfEach:
    """Stop when each group has a response: replication, and with groups of one, waiting for all."""

    groups: tuple[frozenset[int], ...]

    @property
    def needed(self) -> int:
        return len(self.groups)

    def satisfied(self, responded: Sequence[int]) -> bool:
        return all(not group.isdisjoint(responded) for group in self.groups)

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        missing = next(group for group in self.groups if group.isdisjoint(reachable))
        names = ", ".join(map(str, sorted(missing)))
        return NotEnoughWorkers(
            len(reachable),
            self.needed,
            f"No copy is left of the part that worker {names} held. Add copies or use a code.",
        )


def spared(rule: StoppingRule, responded: Collection[int]) -> frozenset[int]:
    """Workers that can no longer help the round: a copy of each one's result has been counted."""
    if not isinstance(rule, AnyOfEach):
        return frozenset()
    open_groups = [group for group in rule.groups if group.isdisjoint(responded)]
    return frozenset[int]().union(*rule.groups).difference(responded, *open_groups)


class ErrorEstimator(Protocol):
    """The part of a code that `WellConditioned` needs."""

    @property
    def recovery_threshold(self) -> int: ...

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Estimated error of C = A B from these workers, relative to |A| |B|."""
        ...


@dataclass(frozen=True)
class WellConditioned:
    """Stop as soon as the responses decode to ``tolerance``, and not before (the code knows its error beforehand).

    Parameters
    ----------
    code
        Estimates the error.
    tolerance
        Relative error that the decoded product may have.
    at_worst
        Relative error up to which the responses of all workers that can respond are taken, where not even these decode
        to the tolerance (`best_there_is`); 0 refuses them. For a fit, which proves its result by other means.
    """

    code: ErrorEstimator
    tolerance: float
    at_worst: float = 0.0

    @property
    def needed(self) -> int:
        return self.code.recovery_threshold

    def satisfied(self, responded: Sequence[int]) -> bool:
        return len(responded) >= self.needed and self.code.error_estimate(responded) <= self.tolerance

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        if len(reachable) < self.needed:
            return NotEnoughWorkers(len(reachable), self.needed)
        return DecodingError(self.code.error_estimate(reachable), self.tolerance)


def best_there_is(rule: StoppingRule, reachable: Sequence[int]) -> bool:
    """Whether a round may end with the responses of all ``reachable`` workers although these do not satisfy its rule."""
    if not isinstance(rule, WellConditioned) or len(reachable) < rule.needed:
        return False
    return rule.code.error_estimate(reachable) <= rule.at_worst


def counted_workers(
    order: tuple[int, ...], until: StoppingRule, without: Mapping[int, Status] = MappingProxyType({})
) -> tuple[int, ...]:
    """The workers that a round uses: the first that satisfy the rule, or all where the rule is content with these.

    A rule stays satisfied as more responses arrive, so steps that double and then halve find the place: asking a
    code for its error is dear, and at a thousand workers it takes some fifty responses beyond the threshold.

    Raises NotEnoughWorkers, DecodingError when even all of them do not satisfy the rule.
    """
    refused, step = max(0, until.needed - 1), 1
    count = refused + 1
    while count < len(order) and not until.satisfied(order[:count]):
        refused, count, step = count, count + step, 2 * step
    count = min(count, len(order))
    if count == len(order) and not until.satisfied(order):
        if best_there_is(until, order):
            return order
        raise refusal_of(until, order, without)
    tried = range(refused + 1, count)
    return order[: refused + 1 + bisect_left(tried, True, key=lambda responses: until.satisfied(order[:responses]))]


@dataclass(frozen=True)
class EnoughAndOverdue:
    """Stop when k workers have responded, all ``overdue`` ones among them."""

    k: int
    overdue: frozenset[int]

    @property
    def needed(self) -> int:
        return max(self.k, len(self.overdue))

    def satisfied(self, responded: Sequence[int]) -> bool:
        return len(responded) >= self.k and self.overdue.issubset(responded)

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        gone = ", ".join(map(str, sorted(self.overdue.difference(reachable))))
        remedy = f"Worker {gone} has missed as many rounds as max_skips allows." if gone else "Lower wait_for."
        return NotEnoughWorkers(len(reachable), self.needed, remedy)


def all_of(size: int) -> AnyOfEach:
    """The rule that waits for every one of ``size`` workers."""
    return first_copies(size, size)


def rule_for(code: MatrixCode, tolerance: float, at_worst: float = 0.0) -> StoppingRule:
    """The rule by which a round of this code stops."""
    plain = without_type(code)
    if isinstance(plain, ReplicatedProduct):
        return AnyOfEach(plain.groups)
    return WellConditioned(code, tolerance, at_worst)


def first_copies(workers: int, blocks: int) -> AnyOfEach:
    """The rule that waits for the first copy of each of the blocks that W workers hold."""
    return AnyOfEach(holders(workers, blocks))
