"""Cells of a sweep: one by one, as the grid that options of the command line describe, and the spec that all share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from coded_als.cluster.machine import Machine
from coded_als.codes import Entangled, parse_code
from coded_als.delays import DelayModel, parse_delays, require_workers
from coded_als.errors import UsageError
from coded_als.experiments.sweep.rows import SchemeCell, SweepCell
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import SOLVERS, solvers_of
from coded_als.planner.timing import Draws, Infeasible, Workload, iteration_seconds

PROTOCOLS = ("fused", "paper")
# the option of the command line that each dimension is named by
DIMENSIONS = {
    "partitions": "partitions",
    "workers": "workers",
    "stragglers": "stragglers",
    "protocol": "protocols",
    "solver": "solvers",
    "codes": "codes",
    "delays": "delays",
}
# Of a grid: days of work, and still a table that can be held and read.
MOST_CELLS = 10_000


@dataclass(frozen=True)
class Cell:
    """One scheme under one delay model and one number of dead workers."""

    scheme: Scheme
    stragglers: int  # workers that never respond, besides those that the delays stop
    delays: str  # a delay SPEC
    # SPEC of a code that left h open, where the grid has cut it; its row tells this and h apart
    open_code: str | None = None

    @property
    def injected_delays(self) -> str:
        """The SPEC of the delays with this cell's dead workers."""
        return f"{self.delays}+dead:n={self.stragglers}" if self.stragglers else self.delays

    def key(self) -> SweepCell:
        """The cell as columns of its row."""
        return {**self.scheme_key(), "stragglers": self.stragglers, "delays": self.delays}

    def scheme_key(self) -> SchemeCell:
        """The scheme as columns."""
        scheme, family = self.scheme, self.scheme.family
        return {
            "code": self.open_code or scheme.code,
            "workers": scheme.workers,
            "partitions": family.h if self.open_code is not None and isinstance(family, Entangled) else None,
            "protocol": scheme.protocol,
            "solver": scheme.solver,
        }

    @classmethod
    def of(cls, key: SweepCell) -> Cell:
        """The cell of a stored row."""
        code, partitions = parse_code(key["code"]), key["partitions"]
        cut = code if partitions is None else code.partitioned(partitions)
        scheme = Scheme(cut.spec, key["workers"], key["protocol"], key["solver"])
        return cls(scheme, key["stragglers"], key["delays"], None if partitions is None else code.spec)


Clock = Literal["virtual", "local"]


@dataclass(frozen=True)
class SweepSpec:
    """Everything that the results of a sweep depend on, besides its cells, which carry the delays."""

    cluster: Clock  # ``"virtual"`` or ``"local"`` (real processes and wall seconds)
    numerics: bool  # whether the algorithm runs to convergence on a synthetic problem; otherwise only times are drawn
    size: Size
    machine: Machine  # one worker and its link
    tolerance: float | None  # relative error that a decoded product may have; None: the tolerance of the scheme's code
    iterations: Mapping[str, int]  # iterations of each solver
    repeats: int  # repetitions of each cell, each with random numbers of its own that all cells share
    seed: int  # seed of the delays and of the synthetic problem

    def __post_init__(self) -> None:
        self.workload("none")  # refuses settings that no cell could use

    def workload(self, delays: str) -> Workload:
        """The workload of a cell under these delays."""
        return Workload(self.size, delays, self.machine, self.tolerance, self.iterations)

    @property
    def clock(self) -> str:
        """The word in front of every column of seconds."""
        return "virtual" if self.cluster == "virtual" else "wall"

    @property
    def columns(self) -> tuple[str, ...]:
        """Numbers that every finished cell has."""
        return (f"{self.clock}_seconds_mean", f"{self.clock}_iteration_seconds_p50", "iterations")


@dataclass(frozen=True)
class Grid:
    """All combinations; each is one cell where it makes a difference."""

    codes: tuple[str, ...]  # SPECs; an entangled code that leaves its cut open is taken at each of ``partitions``
    # the values of the other dimensions
    partitions: tuple[int, ...]
    workers: tuple[int, ...]
    stragglers: tuple[int, ...]
    protocols: tuple[str, ...]
    solvers: tuple[str, ...]
    delays: tuple[str, ...]

    def cells(self) -> list[Cell]:
        """The cells in the order in which results are written."""
        schemes = len(self.solvers) * len(self.protocols) * len(self.codes) * len(self.partitions)
        if (count := len(self.delays) * len(self.workers) * len(self.stragglers) * schemes) > MOST_CELLS:
            raise UsageError(f"a sweep must have at most {MOST_CELLS} cells; got up to {count}. Narrow its ranges.")
        cells = [
            Cell(scheme, stragglers, delays, open_code)
            for delays in self.delays
            for workers in self.workers
            for stragglers in self.stragglers
            for solver in self.solvers
            for scheme, open_code in self._schemes(workers, solver)
        ]
        if not cells:
            raise UsageError(
                "a sweep must have a cell; protocol 'paper' is defined for an entangled code cut h x h and solver "
                f"{' or '.join(map(repr, solvers_of('paper')))} alone. Widen the grid."
            )
        return cells

    def joined(self, other: Grid) -> Grid:
        """The grid of all values of both: numbers ascending, words and SPECs in the order of appearance."""
        values = {}
        for field in fields(self):
            both = tuple(dict.fromkeys((*getattr(self, field.name), *getattr(other, field.name))))
            values[field.name] = tuple(sorted(both)) if all(isinstance(value, int) for value in both) else both
        return replace(self, **values)

    def _schemes(self, workers: int, solver: str) -> Iterator[tuple[Scheme, str | None]]:
        """Schemes, each with the SPEC of its code before the grid has cut it, if it has."""
        for code in self.codes:
            family = parse_code(code)
            open_cut = isinstance(family, Entangled) and not family.fixed
            cuts = [family.partitioned(h) for h in self.partitions] if open_cut else [family]
            for protocol in self.protocols:
                if solver not in solvers_of(protocol):
                    continue
                if protocol == "paper" and not (isinstance(family, Entangled) and family.square):
                    continue
                schemes = (Scheme(cut.spec, workers, protocol, solver) for cut in cuts)
                yield from ((scheme, family.spec if open_cut else None) for scheme in schemes)


def make_grid(options: Mapping[str, str], codes: Sequence[str], delays: Sequence[str]) -> Grid:
    """The grid that the options of the command line describe, for each of the codes under each of the delays."""
    workers = parse_range(options["workers"], "workers")
    require_workers(max(workers))
    return Grid(
        codes=tuple(dict.fromkeys(parse_code(code).spec for code in codes)),
        partitions=parse_range(options["partitions"], "partitions"),
        workers=workers,
        stragglers=parse_range(options["stragglers"], "stragglers", least=0),
        protocols=parse_choices(options["protocol"], "protocol", PROTOCOLS),
        solvers=parse_choices(options["solver"], "solver", tuple(SOLVERS)),
        delays=distinct_delays(delays),
    )


def readable_delays(spec: str) -> str:
    """The SPEC itself, once it has been read without complaint."""
    parse_delays(spec)
    return spec


def distinct_delays(specs: Sequence[str]) -> tuple[str, ...]:
    """The SPECs in their order; of those that name the same model (``20ms`` and ``0.02s``), the first.

    Raises UsageError for a SPEC that cannot be read.
    """
    models: dict[DelayModel, str] = {}
    for spec in dict.fromkeys(spec.strip() for spec in specs):
        models.setdefault(parse_delays(spec), spec)
    return tuple(models.values())


def parse_range(text: str, name: str, least: int = 1) -> tuple[int, ...]:
    """Whole numbers from ``2:6`` (both ends), ``10:50:10`` (with a step) or ``4,6,8``."""
    match = re.fullmatch(r"(\d+):(\d+)(?::(\d+))?", text.strip())
    if match:
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if first > last or step < 1:
            turned = f"{last}:{first}" + (f":{step}" if match[3] and step else "")
            raise UsageError(f"{name} must be an ascending range, like 2:6 or 10:50:10; got {text!r}. Write {turned}.")
        if len(range(first, last + 1, step)) > MOST_CELLS:
            raise UsageError(f"{name} must be at most {MOST_CELLS} numbers; got {text!r}. Shorten it or add a step.")
        values = tuple(range(first, last + 1, step))
    elif re.fullmatch(r"\d+(,\d+)*", text.strip()):
        values = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    else:
        raise UsageError(f"{name} must be like 2:6, 10:50:10 or 4,6,8; got {text!r}.")
    if min(values) < least:
        raise UsageError(f"{name} must be at least {least}; got {text!r}. Raise it.")
    return values


def parse_choices(text: str, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Comma-separated words, each one of ``allowed``."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    wrong = [word for word in words if word not in allowed]
    if wrong:
        raise UsageError(f"{name} must be among {', '.join(allowed)}; got {wrong[0]!r}.")
    return words


def refusal(spec: SweepSpec, cell: Cell) -> str | None:
    """Why a cell cannot run, as far as its first iteration tells; None where it can."""
    try:
        workload = spec.workload(cell.injected_delays)
        iteration_seconds(cell.scheme, workload, Draws(workload.model, cell.scheme.workers, spec.seed, 1), most=1)
    except Infeasible as reason:
        return str(reason)
    return None


def require_feasible(spec: SweepSpec, cells: Sequence[Cell]) -> None:
    """Refuse a grid of which no cell can run; a grid where some can is run."""
    reason: str | None = ""
    for cell in cells:
        if (reason := refusal(spec, cell)) is None:
            return
    raise UsageError(f"a sweep must have a cell that can run; none of {len(cells)} can. The last of them: {reason}")
