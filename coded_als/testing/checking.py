"""A code put to the test: its invariants on random survivors, and a search for the survivors that decode worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from coded_als.checks import RNG, require_whole, seed_from
from coded_als.codes import MatrixCode, parse_code
from coded_als.codes.family import LONG
from coded_als.codes.survivors import LOOKED_AT, Survivors, WorstSurvivors, worst_survivors
from coded_als.testing.invariants import INVARIANTS, CodedTrial, decodes_within_the_estimate, has_the_announced_shapes

# Violations of one invariant that a report names.
MOST_NAMED = 3


@dataclass(frozen=True)
class Violation:
    """An invariant that a code breaks.

    Parameters
    ----------
    invariant
        A key of `INVARIANTS`.
    workers
        The workers with the responses that show it, in their order of arrival.
    finding
        The finding, as a sentence.
    """

    invariant: str
    workers: Survivors
    finding: str


@dataclass(frozen=True)
class CodeReport:
    """The findings of `check_code`.

    Parameters
    ----------
    code
        Its SPEC, or the name of its class.
    workers
        Number of workers W.
    recovery_threshold
        Number of responses below which no set decodes.
    sets
        Random sets of threshold workers that the invariants were tried on.
    undecodable
        Number of these that do not decode at all.
    median
        Median of the estimated errors of the others, relative to |A| |B|; infinite where there are none.
    percentile_99
        The 99th percentile of the same.
    worst
        The worst sets of threshold workers that a search found, by their estimated error.
    measured
        The largest measured error of these and of the random sets, relative to |A| |B|, of those that the code decodes.
    violations
        Invariants that it breaks; at most three sets for each.

    Examples
    --------
    >>> from coded_als.testing import check_code
    >>> report = check_code("systematic:p=4", workers=7)
    >>> report.recovery_threshold, report.violations
    (4, ())
    """

    code: str
    workers: int
    recovery_threshold: int
    sets: int
    undecodable: int
    median: float
    percentile_99: float
    worst: WorstSurvivors
    measured: float
    violations: tuple[Violation, ...]

    @property
    def holds(self) -> bool:
        """Whether no invariant was seen broken."""
        return not self.violations

    @property
    def search(self) -> str:
        """The search for the worst set, in words."""
        if self.worst.exhaustive:
            return f"all {self.worst.looked_at} sets of {self.recovery_threshold} workers"
        return (
            f"{self.worst.looked_at} sets of {self.recovery_threshold} workers: sets without gaps, random ones, "
            "and exchanges of one worker that make these worse"
        )

    @property
    def _quantiles(self) -> str:
        """The estimates of the random sets, in words."""
        if self.undecodable == self.sets:
            return f"none of {self.sets} random sets of {self.recovery_threshold} workers decodes"
        refused = f"; {self.undecodable} do not decode" if self.undecodable else ""
        return f"median {self.median:.1e}, 99 % {self.percentile_99:.1e} of {self.sets} random sets{refused}"

    def __str__(self) -> str:
        head = f"{self.code} on {self.workers} workers, recovery threshold {self.recovery_threshold}"
        worst = f"{self.worst.worst:.1e}" if np.isfinite(self.worst.worst) else "does not decode"
        lines = [
            f"estimated error   {self._quantiles}",
            f"worst set found   {worst}: workers {_ranges(self.worst.sets[0])}",
            f"searched          {self.search}",
        ]
        if np.isfinite(self.measured):
            lines.append(f"measured error    at most {self.measured:.1e} where the code decodes")
        found = [f"BROKEN: {v.invariant}. {v.finding}." for v in self.violations]
        return "\n".join([head, *lines, *(found or [f"all {len(INVARIANTS)} invariants hold"])])


def check_code(
    code: str | MatrixCode,
    workers: int = 30,
    *,
    sets: int = 200,
    looked_at: int = LOOKED_AT,
    seed: int | None = None,
    rng: RNG = None,
) -> CodeReport:
    """Try the invariants of a code on random survivors, and search the survivors that decode worst.

    Parameters
    ----------
    code
        A code SPEC, or a code with its workers.
    workers
        W; counts for a SPEC alone.
    sets
        Random sets of survivors that each invariant is tried on.
    looked_at
        The most sets that the search examines. If there are no more sets, it examines all.
    seed
        Seed of operands, survivors and search.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Returns
    -------
    The findings. ``print`` shows them, and ``holds`` is True if the code kept all invariants.

    Raises
    ------
    UsageError
        For an unknown SPEC, or one that does not fit so many workers.

    Examples
    --------
    >>> report = check_code("systematic:p=4", workers=7)
    >>> report.holds, report.worst.exhaustive, report.worst.looked_at
    (True, True, 35)
    """
    require_whole("sets", sets, 1)
    require_whole("looked_at", looked_at, 1)
    name, matrix_code = _bound(code, workers)
    seed = seed_from(seed, rng)
    trial, threshold = CodedTrial.random(matrix_code, seed), matrix_code.recovery_threshold
    orders = list(_orders(matrix_code.workers, sets, seed))
    worst = worst_survivors(matrix_code, threshold, looked_at, seed)
    estimates = np.array([matrix_code.error_estimate(order[:threshold]) for order in orders])
    known = estimates[np.isfinite(estimates)]
    errors = [_measured(trial, chosen[:threshold]) for chosen in (*orders, *worst.sets)]
    return CodeReport(
        name,
        matrix_code.workers,
        threshold,
        sets,
        sets - known.size,
        float(np.median(known)) if known.size else np.inf,
        float(np.quantile(known, 0.99, method="higher")) if known.size else np.inf,
        worst,
        max((error for error in errors if np.isfinite(error)), default=np.inf),
        tuple(_violations(trial, orders, worst.sets)),
    )


def _ranges(workers: Sequence[int]) -> str:
    """Ascending numbers with neighbours joined: ``0-3, 7, 9-12``."""
    runs: list[list[int]] = []
    for worker in workers:
        if runs and worker == runs[-1][-1] + 1:
            runs[-1][1:] = [worker]
        else:
            runs.append([worker])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _bound(code: str | MatrixCode, workers: int) -> tuple[str, MatrixCode]:
    """A name for the code, and the code with its workers."""
    if not isinstance(code, str):
        return type(code).__name__, code
    require_whole("workers", workers, 1)
    spec = parse_code(code).bind(workers, LONG)
    return spec.spec, spec.for_product(workers)


def _orders(workers: int, sets: int, seed: int) -> Iterator[Survivors]:
    """Random orders of arrival of all workers."""
    rng = np.random.default_rng([seed, 1])
    for _ in range(sets):
        yield tuple(rng.permutation(workers).tolist())


def _measured(trial: CodedTrial, workers: Survivors) -> float:
    """The measured error, infinite where the code raises anything: the invariants report that."""
    try:
        return trial.error(workers)
    except Exception:
        return np.inf


def _violations(trial: CodedTrial, orders: Sequence[Survivors], worst: Sequence[Survivors]) -> Iterator[Violation]:
    threshold = trial.code.recovery_threshold
    for name in INVARIANTS:
        named = 0
        for order in _tried(name, orders, worst):
            arrived = _arrivals(trial, order, threshold, whole=name == "never gets worse by a surplus")
            finding = _finding(trial, name, arrived)
            if finding:
                yield Violation(name, arrived, finding)
                named += 1
            if named == MOST_NAMED:
                break


def _tried(name: str, orders: Sequence[Survivors], worst: Sequence[Survivors]) -> Sequence[Survivors]:
    """The survivors that an invariant is tried on: the worst ones show a false estimate, and any show a shape."""
    if INVARIANTS[name] is decodes_within_the_estimate:
        return [*worst, *orders]
    return orders[:1] if INVARIANTS[name] is has_the_announced_shapes else orders


def _arrivals(trial: CodedTrial, order: Survivors, threshold: int, *, whole: bool) -> Survivors:
    """The first responses of an order that decode by the code's own estimate; all of them for an invariant about a surplus."""
    if whole:
        return order
    counts = range(threshold, len(order) + 1)
    enough = next((count for count in counts if np.isfinite(trial.code.error_estimate(order[:count]))), len(order))
    return order[:enough]


def _finding(trial: CodedTrial, name: str, workers: Survivors) -> str:
    """The sentence of a broken invariant, or an empty one."""
    try:
        INVARIANTS[name](trial, workers)
    except AssertionError as broken:
        return str(broken)
    except Exception as error:  # a code of one's own may raise anything
        return f"workers {list(workers)} raise {type(error).__name__}: {error}"
    return ""
