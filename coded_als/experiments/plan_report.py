"""A plan as text for people, and trials of it: its first rows run on a cluster, and plans for other circumstances."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from coded_als.als import CodedALS
from coded_als.arrays import Array
from coded_als.cluster import Cluster
from coded_als.cluster.machine import show_worker_speeds
from coded_als.codes import CODES, Entangled
from coded_als.codes.entangled import LARGEST_PARTITIONS
from coded_als.delays.models import Trace
from coded_als.delays.spec import trace_files
from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.calibration import Calibration
from coded_als.experiments.table1.paper_table import paper_ratings
from coded_als.experiments.text_tables import as_text, continued
from coded_als.kernels import SPARSE_SLOWDOWN
from coded_als.planner.choice import ACCURATE, MARGIN, Candidate, Duel, Plan, make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import default_solver
from coded_als.planner.timing import Workload


@dataclass(frozen=True)
class TriedRow:
    """Runs of one row of a plan."""

    candidate: Candidate
    seconds: tuple[float, ...]  # of each fit, forming and giving out the shares included
    refusal: str = ""  # the reason of a fit that could not run

    @property
    def row(self) -> dict[str, Any]:
        """Prediction and truth as columns."""
        predicted, taken = self.candidate.estimate.value, median(self.seconds) if self.seconds else None
        return {
            "label": self.candidate.scheme.label,
            "predicted_seconds": predicted,
            "seconds": taken,
            "ratio": None if taken is None else taken / predicted,
            "runs": len(self.seconds),
            "refusal": self.refusal or None,
        }


def try_rows(
    candidates: Sequence[Candidate], workload: Workload, cluster: Cluster, runs: int, seed: int
) -> list[TriedRow]:
    """Fit a synthetic matrix of the size by each candidate, in turns, with as many iterations as the plan counts on."""
    matrix = _matrix(workload.size, seed)
    seconds: list[list[float]] = [[] for _ in candidates]
    refusals = [""] * len(candidates)
    for _ in range(runs):
        for place, candidate in enumerate(candidates):
            try:
                if not refusals[place]:
                    seconds[place].append(_fit_seconds(candidate, workload, matrix, cluster, seed))
            except CodedALSError as error:
                refusals[place] = str(error)
    return [TriedRow(one, tuple(seconds[place]), refusals[place]) for place, one in enumerate(candidates)]


def _matrix(size: Size, seed: int) -> Any:
    if size.entries is None:
        return paper_ratings(size, seed)
    from scipy import sparse

    density = min(1.0, size.entries / (size.rows * size.columns))
    return sparse.random(size.rows, size.columns, density, format="csr", random_state=np.random.default_rng(seed))


def _fit_seconds(candidate: Candidate, workload: Workload, matrix: Any, cluster: Cluster, seed: int) -> float:
    scheme, sparse = candidate.scheme, workload.size.entries is not None
    protocol: Any = scheme.protocol
    model = CodedALS(
        workload.size.rank,
        code=scheme.code,
        protocol=protocol,
        solver=scheme.solver,
        block="auto" if scheme.block is None else scheme.block,
        precomputation="auto" if not sparse else "none" if scheme.rows else "local",
        decoding_tolerance=workload.tolerance,
        iterations=max(1, round(workload.iterations_of(scheme))),
        tolerance=0.0,
        seed=seed,
    )
    started = cluster.seconds() if cluster.virtual else time.perf_counter()
    model.fit(matrix, cluster)
    return (cluster.seconds() if cluster.virtual else time.perf_counter()) - started


@dataclass(frozen=True)
class Alternative:
    """A plan for other circumstances; without one, the reason."""

    name: str
    workers: int
    plan: Plan | None
    refusal: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The alternative as columns."""
        if self.plan is None:
            return {"what_if": self.name, "workers": self.workers, "refusal": self.refusal}
        chosen = self.plan.recommended
        return {
            "what_if": self.name,
            "workers": self.workers,
            "verdict": self.plan.verdict,
            "label": chosen.scheme.label,
            "virtual_seconds_mean": chosen.estimate.value,
            "worker_storage_bytes": chosen.worker_bytes,
        }


def alternatives(plan: Plan, workers: int, workload: Workload, **limits: Any) -> list[Alternative]:
    """Plans with a quarter more workers, without the slowest worker, and with half the memory of the recommended one.

    ``plan, workers, workload``: the plan as it is; ``limits``: other arguments of `coded_als.planner.choice.make_plan`.
    """
    more = workers + max(1, workers // 4)
    found = [_alternative(f"{more - workers} more workers", more, workload, limits)]
    slowest = _slowest(plan, workers, workload)
    if slowest is not None and workers > 1:
        without = _without(slowest, workers, workload)
        found.append(_alternative(f"without worker {slowest}", workers - 1, without, limits))
    half = {**limits, "memory_bytes": plan.recommended.worker_bytes / 2}
    return [*found, _alternative("half the memory", workers, workload, half)]


def _alternative(name: str, workers: int, workload: Workload, limits: dict[str, Any]) -> Alternative:
    try:
        return Alternative(name, workers, make_plan(workers, workload, **limits))
    except UsageError as error:
        return Alternative(name, workers, None, str(error))


def _speeds(workers: int, workload: Workload) -> Array:
    """The factor of each worker's speed."""
    return np.resize(workload.machine.worker_speeds or (1.0,), workers)


def _slowest(plan: Plan, workers: int, workload: Workload) -> int | None:
    """The worker that took the longest in a recording, or has the least speed; None where all are alike."""
    model, work_s = workload.recorded, workload.machine.computing_s(plan.recommended.worker_operations)
    taken = work_s / _speeds(workers, workload)
    if isinstance(model, Trace):
        slowness = np.ones_like(model.seconds) if model.slowness is None else model.slowness
        taken = np.median(np.resize(model.seconds.T, (workers, len(model.seconds))).T, axis=0) + taken * np.median(
            np.resize(slowness.T, (workers, len(slowness))).T, axis=0
        )
    return None if np.all(taken == taken[0]) else int(np.argmax(taken))


def _without(worker: int, workers: int, workload: Workload) -> Workload:
    """The same workload where one worker is not there."""
    model, machine = workload.recorded, workload.machine
    if machine.worker_speeds:
        machine = replace(machine, worker_speeds=tuple(np.delete(_speeds(workers, workload), worker).tolist()))
    if not isinstance(model, Trace):
        return replace(workload, machine=machine)
    kept = np.delete(np.resize(np.arange(model.seconds.shape[1]), workers), worker)
    slowness = None if model.slowness is None else model.slowness[:, kept]
    return replace(workload, machine=machine, delays=Trace(model.seconds[:, kept], model.unseen, slowness))


# Rows of the table of candidates; the best of each family comes besides.
MOST_ROWS = 8
# Rows of the short table.
SHORT_ROWS = 5
ASSUMPTIONS = (
    "iterations to convergence: {iterations}; those of MovieLens 100K at rank 20 to the default tolerance, unless you set "
    "them: a property of your matrix",
    "the master and {workers} compute {speed:.3g} multiplications/s each; the master's encoding, decoding and algebra count",
    "all messages of a round share the master's link ({bandwidth:.3g} bytes/s); each takes {latency:.3g} s besides, and "
    "{message:.3g} s of the master's time",
    "the start-up is computing D = R^T R where that takes less, encoding it, and sending every worker its share, once",
    "a superseded task is dropped at once, so a slow worker is free for the next round",
    "sparse rows are spread evenly and multiply at a {slowdown}th of the speed of dense products",
    "seconds are means over drawn iterations, with the 95 % interval of the mean: one fit differs more",
    "codes at real points are timed and not recommended: products good to {real_error:.0e}, where a fit wants {accurate:.0e}",
    "h above {circle} (circle) and {real} (real points) is not tried; every p and every number of copies is",
)


def assumptions(workload: Workload) -> list[str]:
    """The assumptions behind the figures, in words."""
    machine = workload.machine
    sharers = "each worker" if machine.cores is None else f"each of {machine.cores} cores that the workers share"
    unequal = (
        [f"worker speeds are {show_worker_speeds(machine.worker_speeds)} of that"] if machine.worker_speeds else []
    )
    return unequal + [
        text.format(
            iterations=", ".join(f"{count} ({solver})" for solver, count in workload.iterations.items()),
            workers=sharers,
            speed=machine.multiplications_per_second,
            bandwidth=machine.bytes_per_second,
            latency=machine.latency_s,
            message=machine.message_s,
            slowdown=SPARSE_SLOWDOWN,
            real_error=Entangled(points="real").tolerance,
            accurate=ACCURATE,
            circle=LARGEST_PARTITIONS["circle"],
            real=LARGEST_PARTITIONS["real"],
        )
        for text in ASSUMPTIONS
        if workload.size.entries is not None or "{slowdown}" not in text
    ]


def fit_command(candidate: Candidate, workload: Workload, cluster: Sequence[str] = ()) -> str:
    """The command that runs a candidate, on local workers or those of the words ``cluster``.

    Delays that are a recording, or those of workers elsewhere, are there already; others are injected.
    """
    scheme = candidate.scheme
    words = ["coded-als", "fit", "RATINGS", "--workers", scheme.workers, "--rank", workload.size.rank]
    words += ["--code", scheme.code]
    if scheme.solver != default_solver():
        words += ["--solver", scheme.solver]
    if scheme.block is not None:
        words += ["--block", scheme.block]
    if workload.size.entries is not None:
        words += ["--precomputation", "none" if scheme.rows else "local"]
    if scheme.protocol != "fused":
        words += ["--protocol", scheme.protocol]
    if workload.tolerance is not None:
        words += ["--decoding-tolerance", workload.tolerance]
    words += cluster
    if not cluster and not trace_files(str(workload.delays)):
        words += ["--delays", workload.delays]
    return shlex.join(map(str, [*words, "--out", "model.npz"]))


def plan_text(
    plan: Plan, workers: int, workload: Workload, *, details: bool = False, cluster: Sequence[str] = ()
) -> str:
    """The plan for people: verdict, command and the leading candidates; with ``details`` all that it rests on."""
    chosen = plan.recommended
    lines = [
        *_headline(plan, workers),
        "",
        *_wrapped(
            f"Use {chosen.scheme.label}: {_seconds(chosen)} expected, start-up {chosen.startup_s:.3g} s included; "
            f"{chosen.worker_bytes / 1e6:.3g} MB on each worker."
        ),
        *continued(fit_command(chosen, workload, cluster)),
        *_default_lines(plan),
        "",
        as_text(*_leading_table(plan), first_left=True),
    ]
    if details:
        lines += _details(plan, workload)
    else:
        lines += ["", "--details: all candidates, equal memory and work, exclusions, assumptions."]
    return "\n".join(lines)


def _details(plan: Plan, workload: Workload) -> list[str]:
    lines = [
        "",
        "The fastest of all:",
        as_text(*_candidate_table(plan), first_left=True),
        "",
        "At equal memory of a worker, with and without a code:",
        as_text(*_duel_table(plan.at_equal_memory, "MB/worker", 1e6)),
        "",
        "At equal work of a worker in an iteration, with and without a code:",
        as_text(*_duel_table(plan.at_equal_work, "10^6 mult.", 1e6)),
    ]
    reasons = _reasons(plan)
    if reasons:
        lines += ["", "Excluded:", *reasons]
    return [*lines, "", "Assumed:", *(f"  {text}" for text in assumptions(workload))]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 79, break_long_words=False, break_on_hyphens=False)


def _headline(plan: Plan, workers: int) -> list[str]:
    """The verdict, and how to find out where it is open."""
    duel = plan.overall
    if duel.plain is None or duel.coded is None or duel.speedup is None:
        return [f"{plan.verdict.capitalize()} on {workers} workers: nothing else can run."]
    ratio, low, high = duel.speedup.value, duel.speedup.low, duel.speedup.high
    interval = "" if low is None or high is None else f"95 %: {low:.2f} to {high:.2f}; "
    fastest = (
        f"is {ratio:.2f} times as fast as {duel.plain.scheme.label}"
        if ratio >= 1
        else f"takes {1 / ratio:.2f} times as long as {duel.plain.scheme.label}"
    )
    return _wrapped(
        f"{duel.verdict.capitalize()} on {workers} workers: {duel.coded.scheme.label} {fastest} (speedup {ratio:.2f}, "
        f"{interval}coding pays from {1 + MARGIN:.2f} on)."
    ) + [line for text in _needed(duel) for line in _wrapped(text)]


def leading(plan: Plan) -> list[Candidate]:
    """The recommended candidate, then the fastest of other codes: of each family first, five in all."""
    found = [plan.recommended]
    families = {plan.recommended.scheme.family.name}
    others = [one for one in plan.candidates if one.scheme.code != plan.recommended.scheme.code]
    for one in others:
        if one.scheme.family.name not in families:
            families.add(one.scheme.family.name)
            found.append(one)
    for one in others:
        if one.scheme.code not in {other.scheme.code for other in found} and len(found) < SHORT_ROWS:
            found.append(one)
    return [found[0], *sorted(found[1:SHORT_ROWS], key=lambda one: one.estimate.value)]


def _leading_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    body = []
    for one in leading(plan):
        scheme = one.scheme
        solver = scheme.solver if scheme.block is None else f"{scheme.solver} {scheme.block}"
        kind = "sparse rows" if scheme.rows else scheme.protocol if scheme.protocol != "fused" else ""
        code = f"{scheme.family.spec}{f', {kind}' if kind else ''}"
        body.append(
            [code, solver, _seconds(one).replace(" s", ""), f"{one.startup_s:.2g}", f"{one.worker_bytes / 1e6:.3g}"]
        )
    return ["code", "solver", "seconds (95 %)", "start-up", "MB each"], body


def _default_lines(plan: Plan) -> list[str]:
    """The code that a fit takes without --code, beside the recommended scheme, and beside others in its memory."""
    if plan.default is None:
        return ["Without --code, fit finds no code for this memory."]
    (choice, default), best, rival = plan.default, plan.recommended, plan.in_default_memory
    if default.scheme.code == best.scheme.code and default.scheme.rows == best.scheme.rows:
        return ["Without --code, fit takes this code too."]
    text = (
        f"Without --code, fit takes {choice.code.spec}: {_seconds(default)}, {default.mean_s / best.mean_s:.2f} times as long; "
        f"{default.worker_bytes / 1e6:.3g} MB on each worker."
    )
    if not best.scheme.rows and best.scheme.family.share(best.scheme.workers) > 1 - 1e-9:
        text += f" All of D on each worker ({best.scheme.code}) has to be requested."
    if best.worker_bytes > default.worker_bytes and rival is not None:
        text += f" In its memory the fastest is {rival.scheme.label}: {_seconds(rival)}."
    return _wrapped(text)


def trials_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Prediction beside truth, of the rows of `coded_als.experiments.plan_report`."""
    body = [
        [row["label"], f"{row['predicted_seconds']:.3g}"]
        + ([row["refusal"], "-"] if row["seconds"] is None else [f"{row['seconds']:.3g}", f"{row['ratio']:.2f}"])
        for row in rows
    ]
    return as_text(["tried", "predicted [s]", "taken [s]", "ratio"], body, first_left=True)


def alternatives_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Plans for other circumstances, one a line."""
    body = []
    for row in rows:
        found = [row.get("refusal", ""), "-", "-", "-"]
        if "label" in row:
            figures = f"{row['virtual_seconds_mean']:.3g}", f"{row['worker_storage_bytes'] / 1e6:.3g}"
            found = [row["label"], *figures, row["verdict"]]
        body.append([f"{row['what_if']} ({row['workers']})", *found])
    return as_text(["what if (workers)", "recommended", "seconds", "MB each", "verdict"], body, first_left=True)


def costs(plan: Plan, workers: int, price_per_hour: float) -> dict[str, float]:
    """Price of a fit with the recommended candidate, and with the fastest without a code, all workers and the master."""
    named = {"recommended": plan.recommended, "without_a_code": plan.overall.plain}
    hours = {name: (workers + 1) * one.estimate.value / 3600 for name, one in named.items() if one is not None}
    return {name: value * price_per_hour for name, value in hours.items()} | {"machine_hours": hours["recommended"]}


def costs_text(found: Mapping[str, float]) -> str:
    """The same in a sentence."""
    plain = f"; the fastest without a code costs {found['without_a_code']:.3g}" if "without_a_code" in found else ""
    return f"A fit takes {found['machine_hours']:.3g} machine hours and costs {found['recommended']:.3g}{plain}."


def calibration_row(plan: Plan, workload: Workload, calibration: Calibration) -> dict[str, float]:
    """The seconds between which a fit by the recommended candidate should end on this machine, and those of the start."""
    low, high = calibration.interval_s(plan.recommended.scheme, workload)
    return {
        "seconds_low": low,
        "seconds_high": high,
        "start_of_workers_seconds": calibration.start_s,
        "load_factor": calibration.load,
    }


def calibration_text(found: Mapping[str, float]) -> str:
    """The same in a sentence."""
    return "\n".join(
        _wrapped(
            f"On this machine a fit now takes {found['load_factor']:.2g} times as long as at rest. Expect {found['seconds_low']:.3g} "
            f"to {found['seconds_high']:.3g} s, and {found['start_of_workers_seconds']:.2g} s more to start the workers."
        )
    )


def _needed(duel: Duel) -> list[str]:
    """The lines that say how to find out."""
    if duel.verdict != "cannot tell yet" or duel.coded is None:
        return []
    lines, draws, rounds = [], duel.draws_needed, duel.coded.sampling.rounds
    if draws is not None and rounds:
        lines.append(f"The recording has {rounds} rounds; about {draws} would tell. Record a longer run.")
    elif draws is not None:
        lines.append(f"It took {len(duel.coded.sampling)} draws; about {draws} would tell: --repeats {draws}.")
    if duel.is_blind:
        lines.append(
            f"{100 * duel.unseen:.0f} % of the recorded tasks were broken off later than any that was finished: how long they "
            "take is not known. Record with coded-als measure, or a run with --code uncoded: both wait for all."
        )
    return lines


def _candidate_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """The fastest few, and the best of each family of codes wherever it comes."""
    shown = list(plan.candidates[:MOST_ROWS])
    for family in CODES:
        best = next((c for c in plan.candidates if c.scheme.family.name == family), None)
        if best is not None and best not in shown:
            shown.append(best)
    headings = ["scheme", "virtual seconds (95 %)", "start-up [s]", "master [s]", "MB/worker", "10^6 mult./worker"]
    body = []
    for candidate in shown:
        figures = (
            candidate.startup_s,
            candidate.master_s,
            candidate.worker_bytes / 1e6,
            candidate.worker_operations / 1e6,
        )
        body.append([candidate.scheme.label, _seconds(candidate), *(f"{figure:.3g}" for figure in figures)])
    return headings, body


def _duel_table(duels: tuple[Duel, ...], unit: str, scale: float) -> tuple[list[str], list[list[str]]]:
    """The duels, the most generous limit first; limits under which the same two meet share a row."""
    body: list[list[str]] = []
    for duel in duels:
        cells = []
        for candidate in (duel.plain, duel.coded):
            cells += ["-", "-"] if candidate is None else [candidate.scheme.label, _seconds(candidate)]
        ratio = "-" if duel.speedup is None else f"{duel.speedup.value:.2f}"
        row = [*cells, ratio, duel.verdict]
        if body and body[-1][1:] == row:
            body.pop()
        body.append([f"{duel.limit / scale:.3g}", *row])
    return [f"{unit} from", "without", "seconds", "with a code", "seconds", "times as fast", "verdict"], body


def _seconds(candidate: Candidate) -> str:
    estimate = candidate.estimate
    if candidate.at_least:
        return f"at least {estimate.value:.3g} s"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g} s (too few draws)"
    interval = f" ({estimate.low:.3g} to {estimate.high:.3g})" if estimate.is_random else ""
    return f"{estimate.value:.3g} s{interval}"


def _reasons(plan: Plan) -> list[str]:
    """Why schemes are left out: one line for a code that is out with every protocol and solver."""
    able = {_family(candidate.scheme.label) for candidate in plan.candidates}
    reasons: dict[str, str] = {}
    for label, reason in plan.excluded:
        reasons.setdefault(label if _family(label) in able else _family(label), reason)
    return [f"  {label}: {reason}" for label, reason in reasons.items()]


def _family(label: str) -> str:
    """The label without protocol and solver."""
    return ", ".join(label.split(", ")[:-2])


def plan_document(plan: Plan, workers: int, workload: Workload, cluster: Sequence[str] = ()) -> dict[str, Any]:
    """The document of ``plan --json``."""
    return {
        "verdict": plan.verdict,
        "draws": len(plan.recommended.sampling),
        "draws_needed": plan.overall.draws_needed,
        "rounds_recorded": plan.recommended.sampling.rounds or None,
        "unseen_share": plan.overall.unseen,
        "margin": MARGIN,
        "workers": workers,
        "size": asdict(workload.size),
        "machine": asdict(workload.machine),
        "iterations": dict(workload.iterations),
        "delays": str(workload.delays),
        "recommended": candidate_row(plan.recommended),
        "command": fit_command(plan.recommended, workload, cluster),
        "default": None
        if plan.default is None
        else candidate_row(plan.default[1]) | {"reason": plan.default[0].reason},
        "fastest_in_the_memory_of_the_default": None
        if plan.in_default_memory is None
        else candidate_row(plan.in_default_memory),
        "speedup_of_the_best_code": _speedup(plan.overall),
        "at_equal_memory": [_duel_row(duel, "worker_storage_bytes") for duel in plan.at_equal_memory],
        "at_equal_work": [_duel_row(duel, "worker_operations") for duel in plan.at_equal_work],
        "candidates": [candidate_row(candidate) for candidate in plan.candidates],
        "excluded": [{"label": label, "reason": reason} for label, reason in plan.excluded],
        "assumptions": assumptions(workload),
    }


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """A candidate as columns, those of its scheme first."""
    estimate, scheme = candidate.estimate, candidate.scheme
    return {
        "label": scheme.label,
        "code": scheme.code,
        "workers": scheme.workers,
        "protocol": scheme.protocol,
        "solver": scheme.solver,
        "block": scheme.block,
        "rows": scheme.rows,
        "virtual_seconds_mean": estimate.value,
        "virtual_seconds_low95": estimate.low if estimate.is_random else None,
        "virtual_seconds_high95": estimate.high if estimate.is_random else None,
        "virtual_seconds_are_uncertain": estimate.low is None,
        "virtual_seconds_are_a_lower_bound": candidate.at_least,
        "startup_seconds": candidate.startup_s,
        "master_seconds": candidate.master_s,
        "worker_storage_bytes": candidate.worker_bytes,
        "worker_operations": candidate.worker_operations,
    }


def _speedup(duel: Duel) -> dict[str, Any] | None:
    """How many times as fast the code is; without an interval where the draws do not suffice for one."""
    speedup = duel.speedup
    return None if speedup is None else {"ratio": speedup.value, "low95": speedup.low, "high95": speedup.high}


def _duel_row(duel: Duel, limited: str) -> dict[str, Any]:
    """The best with a code against the best without; neither uses more than ``at_most`` of the column ``limited``."""
    return {
        "limited": limited,
        "at_most": duel.limit,
        "verdict": duel.verdict,
        "draws_needed": duel.draws_needed,
        "without_a_code": None if duel.plain is None else candidate_row(duel.plain),
        "with_a_code": None if duel.coded is None else candidate_row(duel.coded),
        "speedup": _speedup(duel),
    }
