"""Table I for other numbers of workers, other h, other codes and other delays, on the paper's problem.

Three columns of seconds stand side by side: formula (46), draws of the law that it is derived from, and the virtual clock
with its messages, without and with the master's own work. Formula (46) is of the paper's code under the fitted law alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from operator import attrgetter
from typing import Any

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.machine import Machine
from coded_als.cluster.rules import AnyOfEach, Fastest
from coded_als.cluster.seam import StoppingRule
from coded_als.cluster.waiting import RoundCost, round_seconds
from coded_als.codes import CodeSpec, Entangled, parse_code
from coded_als.delays import DelayStream
from coded_als.errors import UsageError
from coded_als.experiments.table1.paper_table import (
    NOMINAL_ITERATIONS,
    OperationTime,
    constants,
    expected_seconds,
    paper_size,
)
from coded_als.experiments.text_tables import as_text
from coded_als.planner.schemes import Scheme
from coded_als.planner.statistics import mean_and_interval
from coded_als.planner.timing import repetition_seed

FITTED = "fitted"
PAPER_CODE = "entangled:points=real"
# The law of the delays is all the time there is: no other work, no messages.
LAW_ALONE = Machine(np.inf, np.inf, 0.0, 0.0)


@dataclass(frozen=True)
class ExtendedCell:
    """One cell: W workers, h of a code that leaves it open, the code and the delays."""

    workers: int
    partitions: int | None
    code: str  # SPEC, cut
    delays: str  # SPEC, or ``"fitted"``: the law of (46)


@dataclass(frozen=True)
class ExtendedRow:
    """Seconds of a run of 1,000 iterations, stage 1 alone, as (46) counts it."""

    cell: ExtendedCell
    threshold: int  # responses that a round waits for
    formula_seconds: float | None  # formula (46); None for other codes and other delays
    # draws of the delays alone, without messages, with their 95 % interval
    law_seconds_mean: float
    law_seconds_low95: float | None
    law_seconds_high95: float | None
    clock_seconds_mean: float  # the virtual clock, messages included
    master_seconds: float  # the master's own work, which the clock leaves out

    @property
    def with_master_seconds(self) -> float:
        return self.clock_seconds_mean + self.master_seconds

    def document(self) -> dict[str, Any]:
        """The row as it stands in results.json."""
        row = asdict(self)
        return {**row.pop("cell"), **row, "with_master_seconds": self.with_master_seconds}


def cells_of(
    workers: Sequence[int], partitions: Sequence[int], codes: Sequence[str], delays: Sequence[str]
) -> list[ExtendedCell]:
    """The cells that can exist: a code needs no more responses than there are workers."""
    found = [
        ExtendedCell(count, h, code.spec, spec)
        for spec, text, count in product(delays, codes, workers)
        for h, code in _cuts(parse_code(text), partitions)
        if _fits(code, count)
    ]
    if not found:
        raise UsageError("some cell must exist; every code needs more responses than workers. Add workers or lower h.")
    return found


def _cuts(code: CodeSpec, partitions: Sequence[int]) -> Iterator[tuple[int | None, CodeSpec]]:
    if isinstance(code, Entangled) and not code.fixed:
        yield from ((h, code.partitioned(h)) for h in partitions)
    else:
        yield None, code


def _fits(code: CodeSpec, workers: int) -> bool:
    try:
        return code.bind(workers, paper_size().length).threshold(workers) <= workers
    except UsageError:
        return False


def extended_rows(
    cells: Sequence[ExtendedCell],
    law: OperationTime,
    machine: Machine,
    repeats: int,
    seed: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[ExtendedRow]:
    """Time every cell."""
    rows: list[ExtendedRow] = []
    for cell in cells:
        rows.append(_row(cell, law, machine, repeats, seed))
        tell(len(rows), len(cells))
    return rows


def _row(cell: ExtendedCell, law: OperationTime, machine: Machine, repeats: int, seed: int) -> ExtendedRow:
    size, scheme = paper_size(), Scheme(cell.code, cell.workers, solver="als")
    [(cost, rule)] = scheme.schedule(size, scheme.tolerance(size))
    # a round ends at the threshold with any error, as (46) has it; copies wait for one of each block
    until = rule if isinstance(rule, AnyOfEach) else Fastest(rule.needed)
    fitted = cell.delays == FITTED
    spec = fitted_spec(law) if fitted else cell.delays
    # under the fitted law the delays are the work
    clock = Machine(np.inf, machine.bytes_per_second, machine.latency_s, machine.message_s) if fitted else machine
    alone, formula = RoundCost(cost.operations), None
    if fitted and cell.partitions is not None and cell.code == parse_code(PAPER_CODE).partitioned(cell.partitions).spec:
        formula = expected_seconds(law, size.length, size.rank, cell.partitions, cell.workers)
        # (46) cuts D exactly; a share of the code is rounded up to whole rows
        alone = RoundCost(size.length**2 * size.rank / cell.partitions**2)
    # without messages
    silent = LAW_ALONE if fitted else Machine(machine.multiplications_per_second, np.inf, 0.0, 0.0)
    mean, low, high = mean_and_interval(run_totals(spec, cell.workers, alone, until, silent, repeats, seed))
    return ExtendedRow(
        cell, until.needed, formula, mean, low, high,
        float(run_totals(spec, cell.workers, cost, until, clock, repeats, seed).mean()),
        NOMINAL_ITERATIONS * machine.computing_s(scheme.master_operations(size)),
    )  # fmt: skip


def fitted_spec(law: OperationTime) -> str:
    """The fitted law as a delay SPEC, its totals spread over the iterations of a run."""
    mu, sigma = law.total_mu_s / NOMINAL_ITERATIONS, law.total_sigma_s / NOMINAL_ITERATIONS
    return f"normal-ops:mu={mu!r}s,sigma={sigma!r}s"


def run_totals(
    spec: str, workers: int, cost: RoundCost, until: StoppingRule, machine: Machine, repeats: int, seed: int
) -> Array:
    """Seconds of whole runs, (repeats,)."""
    streams = (DelayStream(spec, workers, repetition_seed(seed, repetition)) for repetition in range(repeats))
    return np.array([round_seconds(stream, [(cost, until)], machine, NOMINAL_ITERATIONS).sum() for stream in streams])


def extended_table(rows: Sequence[ExtendedRow], *, markdown: bool = False) -> str:
    """The rows under their headings."""
    headings = ["delays", "code", "W", "h", "K", "formula (46)", "law drawn", "clock", "clock and master"]
    body = [
        [
            *(row.cell.delays, row.cell.code, str(row.cell.workers), str(row.cell.partitions or "")),
            str(row.threshold),
            "" if row.formula_seconds is None else f"{row.formula_seconds:.4g}",
            *(f"{value:.4g}" for value in (row.law_seconds_mean, row.clock_seconds_mean, row.with_master_seconds)),
        ]
        for row in rows
    ]
    return as_text(headings, body, first_left=True, markdown=markdown).strip()


def extended_words(rows: Sequence[ExtendedRow], law: OperationTime) -> list[str]:
    """The findings in words, the fitted constants first."""
    lines = [f"fitted to the paper's sound columns: {constants(law)}"]
    off = [abs(r.law_seconds_mean / r.formula_seconds - 1) for r in rows if r.formula_seconds]
    if off:
        lines.append(f"draws of the law are within {max(off):.2%} of formula (46) in all {len(off)} cells")
    for workers in sorted({row.cell.workers for row in rows}):
        here = [row for row in rows if row.cell.workers == workers]
        pure, real = (min(here, key=attrgetter(name)) for name in ("law_seconds_mean", "with_master_seconds"))
        lines.append(
            f"W = {workers}: {pure.cell.code} is fastest by the law ({pure.law_seconds_mean:.3g} s), {real.cell.code} with "
            f"messages and the master's work ({real.with_master_seconds:.3g} s, of which the master {real.master_seconds:.3g} s)"
        )
    return lines


def documents(rows: Sequence[ExtendedRow], law: OperationTime, machine: Machine) -> Mapping[str, Any]:
    """The results as JSON has them."""
    return {
        "kind": "table1-extended",
        "law": asdict(law),
        "iterations": NOMINAL_ITERATIONS,
        "machine": asdict(machine),
        "rows": [row.document() for row in rows],
    }
