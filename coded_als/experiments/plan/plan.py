"""Does coding pay on a given cluster, and with which h? Every scheme that fits, timed under the same delays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from coded_als.codes import CODES, Entangled
from coded_als.codes.families import LARGEST_PARTITIONS
from coded_als.delays import require_workers
from coded_als.errors import UsageError
from coded_als.experiments.plan.schemes import Scheme
from coded_als.experiments.plan.timing import Infeasible, Workload, iteration_seconds, mean_and_interval
from coded_als.kernels import Array

Verdict = Literal["coding pays", "coding does not pay", "no clear difference"]

# Up to it every round asks the code for its error.
EXACT_WORKERS = 60
# Iterations drawn per repetition; longer runs are scaled up from them.
DRAWN_ITERATIONS = 20

ASSUMPTIONS = (
    "iterations to convergence are assumed, not derived from your matrix: {als} (als) and {lobpcg} (lobpcg), those of "
    "MovieLens 100K at rank 20 to a relative objective error of 1e-8 unless you set them",
    "the master is one machine of the workers' speed ({speed:.3g} multiplications/s); its encoding, decoding and algebra count",
    "all messages of a round share the master's link ({bandwidth:.3g} bytes/s), and each costs {latency:.3g} s besides",
    "the start-up is the encoding of D and sending every worker its share, once; computing D = R^T R is the same for all and left out",
    "a superseded task is dropped at once, so a slow worker is free for the next round",
    "h above {circle} (circle) and {real} (real points) is not tried; every p and every number of copies is",
)


@dataclass(frozen=True)
class Candidate:
    """A scheme and its expected time.

    Parameters
    ----------
    scheme
        What would run.
    totals_s
        Seconds of each repetition, start-up included, (repeats,).
    startup_s
        Seconds before the first iteration.
    master_s
        Seconds of the master's own work and link, over all iterations.
    worker_bytes
        Storage of one worker.
    """

    scheme: Scheme
    totals_s: Array
    startup_s: float
    master_s: float
    worker_bytes: int

    @property
    def mean_s(self) -> float:
        return float(self.totals_s.mean())

    def document(self) -> dict[str, Any]:
        mean, low, high = mean_and_interval(self.totals_s)
        return {
            "label": self.scheme.label,
            **asdict(self.scheme),
            "virtual_seconds_mean": mean,
            "virtual_seconds_low95": low,
            "virtual_seconds_high95": high,
            "startup_seconds": self.startup_s,
            "master_seconds": self.master_s,
            "worker_storage_bytes": self.worker_bytes,
        }


@dataclass(frozen=True)
class Plan:
    """The response.

    Parameters
    ----------
    verdict
        In three words.
    candidates
        All schemes that can run, fastest first.
    excluded
        Label and reason of those that cannot.
    speedup
        Time of the best scheme without a code over that of the best code; its 95 % interval.
    """

    verdict: Verdict
    candidates: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...]
    speedup: tuple[float, float, float] | None

    @property
    def best_coded(self) -> Candidate | None:
        return next((c for c in self.candidates if c.scheme.family.coded), None)

    @property
    def best_plain(self) -> Candidate | None:
        return next((c for c in self.candidates if not c.scheme.family.coded), None)

    @property
    def recommended(self) -> Candidate:
        """The fastest; without a clear difference the one without a code, which is simpler."""
        plain = self.best_plain
        return plain if self.verdict != "coding pays" and plain is not None else self.candidates[0]


def make_plan(
    workers: int, workload: Workload, *, memory_bytes: float = np.inf, repeats: int = 20, seed: int = 0
) -> Plan:
    """Time every scheme that fits on W workers.

    Raises
    ------
    UsageError
        When none can run, or the workers are none or too many.
    """
    require_workers(workers)
    candidates, excluded = [], []
    for scheme in schemes(workers):
        try:
            candidates.append(_candidate(scheme, workload, memory_bytes, repeats, seed))
        except (Infeasible, UsageError) as reason:
            excluded.append((scheme.label, str(reason)))
    if not candidates:
        raise UsageError(
            f"some scheme must be able to run on {workers} workers; none is ({excluded[0][1]}). Add workers or memory."
        )
    candidates.sort(key=lambda candidate: candidate.mean_s)
    verdict, speedup = _compare(candidates)
    return Plan(verdict, tuple(candidates), tuple(excluded), speedup)


def schemes(workers: int) -> Iterator[Scheme]:
    """Every member of every family of codes that the workers allow, with each protocol and solver."""
    for family in CODES.values():
        for code in family.candidates(workers):
            yield Scheme(code.spec, workers, solver="lobpcg")
            yield Scheme(code.spec, workers, solver="als")
            if isinstance(code, Entangled) and code.h:
                yield Scheme(code.spec, workers, protocol="paper", solver="als")


def _candidate(scheme: Scheme, workload: Workload, memory_bytes: float, repeats: int, seed: int) -> Candidate:
    size, machine = workload.size, workload.machine
    stored = scheme.storage_bytes(size)
    if stored > memory_bytes:
        raise Infeasible(f"a worker would hold {_readable(stored)}, and has {_readable(memory_bytes)}.")
    iterations = workload.iterations.of(scheme.solver)
    drawn = iteration_seconds(scheme, workload, seed, repeats, DRAWN_ITERATIONS, exact=scheme.workers <= EXACT_WORKERS)
    startup_s = scheme.startup_operations(size) / machine.multiplications_per_second
    startup_s += scheme.startup_bytes(size) / machine.bytes_per_second
    master_s = iterations * _master_seconds(scheme, workload)
    totals = drawn.sum(axis=1) * (iterations / drawn.shape[1]) + startup_s + master_s
    return Candidate(scheme, totals, startup_s, master_s, stored)


def _master_seconds(scheme: Scheme, workload: Workload) -> float:
    """The master's arithmetic and its link in one iteration; a worker's own message is already in its time."""
    machine = workload.machine
    sent = [
        (scheme.workers - 1) * cost.payload_bytes + (rule.needed - 1) * cost.response_bytes
        for cost, rule in workload.schedule(scheme)
    ]
    return machine.computing_s(scheme.master_operations(workload.size)) + max(0.0, sum(sent)) / machine.bytes_per_second


def _compare(candidates: list[Candidate]) -> tuple[Verdict, tuple[float, float, float] | None]:
    """The best code against the best scheme without one, repetition by repetition."""
    coded = next((c for c in candidates if c.scheme.family.coded), None)
    plain = next((c for c in candidates if not c.scheme.family.coded), None)
    if coded is None:
        return "coding does not pay", None
    if plain is None:
        return "coding pays", None
    mean, low, high = mean_and_interval(np.log(plain.totals_s / coded.totals_s))
    low, high = (mean, mean) if low is None or high is None else (low, high)
    speedup = (float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)))
    # a percent or two is within what the model leaves out
    if low > np.log(1.02):
        return "coding pays", speedup
    return ("coding does not pay" if high < np.log(0.98) else "no clear difference"), speedup


def assumptions(workload: Workload) -> list[str]:
    """What the figures rest on, in words."""
    return [
        text.format(
            als=workload.iterations.als,
            lobpcg=workload.iterations.lobpcg,
            speed=workload.machine.multiplications_per_second,
            bandwidth=workload.machine.bytes_per_second,
            latency=workload.machine.latency_s,
            circle=LARGEST_PARTITIONS["circle"],
            real=LARGEST_PARTITIONS["real"],
        )
        for text in ASSUMPTIONS
    ]


def plan_document(plan: Plan, workers: int, workload: Workload) -> dict[str, Any]:
    """The plan as one JSON-able document."""
    return {
        "verdict": plan.verdict,
        "workers": workers,
        "size": asdict(workload.size),
        "delays": workload.delays,
        "recommended": plan.recommended.document(),
        "speedup_of_the_best_code": None
        if plan.speedup is None
        else dict(zip(("ratio", "low95", "high95"), plan.speedup, strict=True)),
        "candidates": [candidate.document() for candidate in plan.candidates],
        "excluded": [{"label": label, "reason": reason} for label, reason in plan.excluded],
        "assumptions": assumptions(workload),
    }


def plan_text(plan: Plan, workers: int, workload: Workload) -> str:
    """The plan for people."""
    from coded_als.experiments.table1.reproduction import as_text

    chosen = plan.recommended.document()
    lines = [
        _headline(plan, workers),
        f"Use {chosen['label']}: {_seconds(chosen)} expected, start-up {chosen['startup_seconds']:.3g} s included; "
        f"{chosen['worker_storage_bytes'] / 1e6:.3g} MB on each worker.",
        "",
        as_text(*_runners_up(plan)),
    ]
    reasons = _reasons(plan)
    if reasons:
        lines += ["", "Excluded:", *reasons]
    return "\n".join([*lines, "", "Assumed:", *(f"  {text}" for text in assumptions(workload))])


def _reasons(plan: Plan) -> list[str]:
    """Why schemes are left out: one line for a code that is out with every protocol and solver."""
    able = {_family(candidate.scheme.label) for candidate in plan.candidates}
    told: dict[str, str] = {}
    for label, reason in plan.excluded:
        told.setdefault(label if _family(label) in able else _family(label), reason)
    return [f"  {label}: {reason}" for label, reason in told.items()]


def _family(label: str) -> str:
    """The label without protocol and solver."""
    return ", ".join(label.split(", ")[:-2])


def _readable(size_bytes: float) -> str:
    unit, scale = ("GB", 1e9) if size_bytes >= 1e9 else ("MB", 1e6)
    return f"{size_bytes / scale:.3g} {unit}"


def _headline(plan: Plan, workers: int) -> str:
    coded, plain = plan.best_coded, plan.best_plain
    if coded is None or plain is None or plan.speedup is None:
        return f"{plan.verdict.capitalize()} on {workers} workers: nothing else can run."
    ratio, low, high = plan.speedup
    pair = f"{coded.scheme.label} against {plain.scheme.label}"
    if plan.verdict == "coding pays":
        return f"Coding pays on {workers} workers: {pair} is {ratio:.2f} times as fast (95 %: {low:.2f} to {high:.2f})."
    if plan.verdict == "coding does not pay":
        return (
            f"Coding does not pay on {workers} workers: the best code takes {1 / ratio:.2f} times as long "
            f"(95 %: {1 / high:.2f} to {1 / low:.2f}), {pair}."
        )
    return f"No clear difference on {workers} workers: {pair} is {ratio:.2f} times as fast (95 %: {low:.2f} to {high:.2f}). Take the simpler one."


def _runners_up(plan: Plan, count: int = 8) -> tuple[list[str], list[list[str]]]:
    """The fastest few, and the best of each family of codes wherever it comes."""
    shown = list(plan.candidates[:count])
    for family in CODES:
        best = next((c for c in plan.candidates if c.scheme.family.name == family), None)
        if best is not None and best not in shown:
            shown.append(best)
    headings = ["scheme", "virtual seconds (95 %)", "start-up [s]", "master [s]", "MB/worker"]
    body = []
    for candidate in shown:
        row = candidate.document()
        figures = (row["startup_seconds"], row["master_seconds"], row["worker_storage_bytes"] / 1e6)
        body.append([row["label"], _seconds(row), *(f"{figure:.3g}" for figure in figures)])
    return headings, body


def _seconds(row: dict[str, Any]) -> str:
    mean, low, high = (row[f"virtual_seconds_{name}"] for name in ("mean", "low95", "high95"))
    return f"{mean:.3g} s" if low is None else f"{mean:.3g} s ({low:.3g} to {high:.3g})"
