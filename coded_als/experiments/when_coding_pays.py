"""The time to a proved fit with codes, and with the methods of engineers, at equal memory.

Every scheme may keep 2/W of D on each of W workers. All meet the same stragglers, on a virtual clock. Counted are the encoding
of D by one core of the master, and the rounds of a fit with their messages and the master's work. Not counted are the parts
that are the same for all: forming D, giving it out, and sending the block of a round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from coded_als.arrays import Array
from coded_als.cluster.machine import Machine
from coded_als.delays import parse_delays
from coded_als.experiments.text_tables import as_text
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import SOLVERS, default_solver
from coded_als.planner.statistics import Estimate, Sampling
from coded_als.planner.timing import Draws, Workload, iteration_seconds

RANK = 20
# A network that is never the bottleneck: every message takes the time of a message alone.
MACHINE = Machine(bytes_per_second=1e13)
DELAYS = (
    *("measured:lambda", "measured:lambda-outliers", "measured:tail-at-scale", "measured:slow-machine"),
    *("none", "exp:mean=20ms", "pareto:scale=5ms,alpha=1.2", "bimodal:p=0.15,fast=5ms,slow=1s"),
    *("markov:fast=5ms,slow=1s,enter=0.05,leave=0.3", "slowdown:p=0.15,factor=5", "slowdown-lognormal:sigma=0.5"),
)
# Thresholds that whole shares are tried with, as parts of W; half of W takes all of the memory.
PARTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_PIECES = 64
# Runs by which the best threshold and the best rival are picked, before others measure them.
PICKING_RUNS = 20

PAYS, LOSES, UNTOLD = "coding pays", "coding loses", "cannot tell"


def compared_specs(workers: int) -> dict[str, list[str]]:
    """The SPECs of each kind for W workers: of the codes of whole shares, all that are tried."""
    half = -(-workers // 2)
    thresholds = sorted({max(half, round(part * workers)) for part in PARTS})
    return {
        "uncoded": ["uncoded"],
        "copies": ["replicated:copies=2,pieces=1"],
        "copies in pieces": ["replicated:copies=2,pieces=2"],
        "hedged": ["hedged"],
        "speculative": ["speculative"],
        "speculative (Spark 4)": ["speculative:after=0.9,times=3"],
        "coded, whole": [f"systematic:p={p},pieces=1" for p in thresholds if p < workers]
        or ["systematic:p=1,pieces=1"],
        "coded, pieces": [f"systematic:p={half},pieces={min(workers, MOST_PIECES)}"],
    }


CODED = ("coded, whole", "coded, pieces")


@dataclass(frozen=True)
class PayCase:
    """A cluster, its stragglers and the size of the work."""

    delays: str  # SPEC
    work_s: float  # seconds of one worker for 1/W of a product with D
    workers: int

    @property
    def size(self) -> Size:
        """The problem whose products take so long."""
        columns = SOLVERS[default_solver()].columns(RANK, 10**9)
        operations = self.work_s * self.workers * MACHINE.multiplications_per_second
        length = max(RANK, math.isqrt(round(operations / columns)))
        return Size(length, length, RANK)

    def workload(self) -> Workload:
        return Workload(self.size, self.delays, MACHINE)


@dataclass(frozen=True)
class PayOutcome:
    """Times of one setting."""

    setting: PayCase
    seconds: Mapping[str, float]  # mean virtual seconds of a fit by kind, encoding included
    codes: Mapping[str, str]  # the SPEC of each kind
    encoding_s: float  # seconds of encoding of the best code
    # the fastest kind without and with a code
    rival: str
    code: str
    ratio: Estimate  # time of that rival over that of the code, with its 95 % interval
    rounds: float  # rounds of a fit from which the code is faster; infinite where it never is

    @property
    def verdict(self) -> str:
        """Whether the interval of the ratio is above 1, below it, or neither."""
        if self.ratio.low is None or self.ratio.high is None:
            return UNTOLD
        return PAYS if self.ratio.low > 1 else LOSES if self.ratio.high < 1 else UNTOLD

    def document(self) -> dict[str, object]:
        """The outcome as it stands in results.json."""
        return {**asdict(self), "verdict": self.verdict, "rounds": self.rounds if math.isfinite(self.rounds) else None}


@dataclass(frozen=True)
class _Runs:
    """Drawn fits of one scheme."""

    code: str
    encoding_s: float
    rounds_s: Array  # of all rounds of each fit, (runs,)

    @property
    def mean_s(self) -> float:
        return self.encoding_s + float(self.rounds_s.mean())


def outcome_of(setting: PayCase, runs: int, seed: int = 0) -> PayOutcome:
    """Time every kind in one setting; the best of a kind is picked by other runs than it is measured by."""
    picked = _timed(setting, compared_specs(setting.workers), min(runs, PICKING_RUNS), seed + 1)
    best = {kind: min(found, key=lambda one: one.mean_s) for kind, found in picked.items()}
    rival = min((kind for kind in best if kind not in CODED), key=lambda kind: best[kind].mean_s)
    code = min(CODED, key=lambda kind: best[kind].mean_s)
    found = {kind: one for kind, (one,) in _timed(setting, {k: [b.code] for k, b in best.items()}, runs, seed).items()}
    ours, theirs, fits = found[code], found[rival], SOLVERS[default_solver()].iterations
    gained_s = float((theirs.rounds_s - ours.rounds_s).mean()) / fits
    return PayOutcome(
        setting,
        {kind: one.mean_s for kind, one in found.items()},
        {kind: one.code for kind, one in found.items()},
        ours.encoding_s,
        rival,
        code,
        Sampling.plain(runs).ratio(theirs.encoding_s + theirs.rounds_s, ours.encoding_s + ours.rounds_s),
        math.ceil((ours.encoding_s - theirs.encoding_s) / gained_s) if gained_s > 0 else math.inf,
    )


def _timed(setting: PayCase, kinds: Mapping[str, Sequence[str]], runs: int, seed: int) -> dict[str, list[_Runs]]:
    """Fits with each SPEC, all under the same delays."""
    workload, workers = setting.workload(), setting.workers
    draws = Draws(parse_delays(setting.delays), workers, seed, runs)
    found: dict[str, list[_Runs]] = {}
    for kind, specs in kinds.items():
        for spec in specs:
            scheme = Scheme(spec, workers, solver=default_solver())
            planes = scheme.product(workload.size).encoded_planes[0]
            encoding_s = MACHINE.computing_s(planes * float(workload.size.length) ** 2)
            rounds_s = iteration_seconds(scheme, workload, draws, exact=False).sum(axis=1)
            found.setdefault(kind, []).append(_Runs(spec, encoding_s, rounds_s))
    return found


def grid_of(delays: Sequence[str], works_s: Sequence[float], workers: Sequence[int]) -> Iterator[PayCase]:
    """The settings of a grid."""
    for spec, work_s, count in product(delays, works_s, workers):
        yield PayCase(spec, work_s, count)


def measured_outcomes(
    grid: Sequence[PayCase], runs: int, seed: int = 0, tell: Callable[[int, int], None] = lambda done, total: None
) -> list[PayOutcome]:
    """Measure every setting of a grid."""
    found: list[PayOutcome] = []
    for setting in grid:
        found.append(outcome_of(setting, runs, seed))
        tell(len(found), len(grid))
    return found


def verdict_lines(found: Sequence[PayOutcome]) -> list[str]:
    """The findings in words: first the settings in which coding loses."""
    lines = []
    for verdict in (LOSES, UNTOLD, PAYS):
        alike = [outcome for outcome in found if outcome.verdict == verdict]
        if not alike:
            continue
        ratios = sorted(outcome.ratio.value for outcome in alike)
        rivals = sorted({outcome.rival for outcome in alike})
        lines.append(
            f"{verdict} in {len(alike)} of {len(found)} settings: the best rival takes {ratios[0]:.2g} to {ratios[-1]:.2g} "
            f"times the time of the best code ({', '.join(rivals)})"
        )
    again = [outcome for outcome in found if outcome.verdict == LOSES and math.isfinite(outcome.rounds)]
    if again:
        fewest = min(outcome.rounds for outcome in again)
        lines.append(
            f"in {len(again)} of the lost settings the rounds of the code are faster, and its encoding by one core takes longer "
            f"than {SOLVERS[default_solver()].iterations} rounds save; there it pays from {fewest:g} rounds on, or from more"
        )
    return lines


def ratio_table(found: Sequence[PayOutcome], *, markdown: bool = False) -> str:
    """One row for each delay model and size of work: rival over code for each number of workers."""
    return _table(found, _ratio_text, markdown)


def rounds_table(found: Sequence[PayOutcome], *, markdown: bool = False) -> str:
    """The same for the rounds of a fit from which the code is faster, its encoding included."""
    return _table(found, lambda outcome: f"{outcome.rounds:g}" if math.isfinite(outcome.rounds) else "never", markdown)


def _table(found: Sequence[PayOutcome], show: Callable[[PayOutcome], str], markdown: bool) -> str:
    counts = sorted({outcome.setting.workers for outcome in found})
    cells = {(o.setting.delays, o.setting.work_s, o.setting.workers): show(o) for o in found}
    rows = dict.fromkeys((o.setting.delays, o.setting.work_s) for o in found)
    body = [
        [delays, f"{1e3 * work_s:g} ms", *(cells.get((delays, work_s, count), "") for count in counts)]
        for delays, work_s in rows
    ]
    headings = ["delays", "work", *(f"W = {count}" for count in counts)]
    return as_text(headings, body, first_left=True, markdown=markdown).strip()


def _ratio_text(outcome: PayOutcome) -> str:
    """The ratio with the half width of its interval, and the name of the rival."""
    ratio = outcome.ratio
    spread = "?" if ratio.low is None or ratio.high is None else f"{(ratio.high - ratio.low) / 2:.1g}"
    return f"{ratio.value:.3g} ± {spread} {outcome.rival}"
