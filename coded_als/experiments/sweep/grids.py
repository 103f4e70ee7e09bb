"""From the options of a sweep to its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from coded_als.als.schemes import Scheme
from coded_als.codes import Entangled, parse_code
from coded_als.delays import DelayModel, parse_delays, require_workers
from coded_als.errors import UsageError
from coded_als.experiments.sweep.cells import Cell
from coded_als.experiments.sweep.ranges import MOST_CELLS, parse_choices, parse_range

PROTOCOLS = ("fused", "paper")
SOLVERS = ("als", "lobpcg")


@dataclass(frozen=True)
class Grid:
    """All combinations; each is one cell where it makes a difference.

    Parameters
    ----------
    codes
        SPECs; an entangled code that leaves its cut open is taken at each of ``partitions``.
    partitions, workers, stragglers, protocols, solvers, delays
        The values of the other dimensions.
    """

    codes: tuple[str, ...]
    partitions: tuple[int, ...]
    workers: tuple[int, ...]
    stragglers: tuple[int, ...]
    protocols: tuple[str, ...]
    solvers: tuple[str, ...]
    delays: tuple[str, ...]

    def cells(self) -> list[Cell]:
        """The cells in the order in which results are written.

        Raises
        ------
        UsageError
            When the grid is too large, or empty: the paper's protocol exists for ALS with its own code alone.
        """
        schemes = len(self.solvers) * len(self.protocols) * len(self.codes) * len(self.partitions)
        if (count := len(self.delays) * len(self.workers) * len(self.stragglers) * schemes) > MOST_CELLS:
            raise UsageError(f"a sweep must have at most {MOST_CELLS} cells; got up to {count}. Narrow its ranges.")
        cells = [
            Cell(scheme, stragglers, delays)
            for delays in self.delays
            for workers in self.workers
            for stragglers in self.stragglers
            for solver in self.solvers
            for scheme in self._schemes(workers, solver)
        ]
        if not cells:
            raise UsageError(
                "a sweep must have a cell; protocol 'paper' is defined for an entangled code cut h x h and solver 'als' "
                "alone. Widen the grid."
            )
        return cells

    def joined(self, other: Grid) -> Grid:
        """The grid of all values of both: numbers ascending, words and SPECs in the order of appearance."""
        values = {}
        for field in fields(self):
            both = tuple(dict.fromkeys((*getattr(self, field.name), *getattr(other, field.name))))
            values[field.name] = tuple(sorted(both)) if all(isinstance(value, int) for value in both) else both
        return replace(self, **values)

    def _schemes(self, workers: int, solver: str) -> Iterator[Scheme]:
        for code in self.codes:
            family = parse_code(code)
            open_cut = isinstance(family, Entangled) and not family.fixed
            for protocol in self.protocols:
                if protocol == "paper" and (solver != "als" or not isinstance(family, Entangled) or not family.square):
                    continue
                parts = self.partitions if open_cut else (None,)
                yield from (Scheme(family.spec, workers, h, protocol, solver) for h in parts)


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


def make_grid(options: Mapping[str, str], codes: Sequence[str], delays: Sequence[str]) -> Grid:
    """The grid that the options of the command line describe, for each of the codes under each of the delays.

    Parameters
    ----------
    options
        Values by option, as on the command line.
    codes
        SPECs of codes.
    delays
        SPECs of delays.

    Raises
    ------
    UsageError
    """
    workers = parse_range(options["workers"], "workers")
    require_workers(max(workers))
    return Grid(
        codes=tuple(dict.fromkeys(parse_code(code).spec for code in codes)),
        partitions=parse_range(options["partitions"], "partitions"),
        workers=workers,
        stragglers=parse_range(options["stragglers"], "stragglers", least=0),
        protocols=parse_choices(options["protocol"], "protocol", PROTOCOLS),
        solvers=parse_choices(options["solver"], "solver", SOLVERS),
        delays=distinct_delays(delays),
    )


def readable_delays(spec: str) -> str:
    """The SPEC itself, once it has been read without complaint."""
    parse_delays(spec)
    return spec


def distinct_delays(specs: Sequence[str]) -> tuple[str, ...]:
    """The SPECs in their order; of those that name the same model (``20ms`` and ``0.02s``), the first.

    Raises
    ------
    UsageError
        For a SPEC that cannot be read.
    """
    models: dict[DelayModel, str] = {}
    for spec in dict.fromkeys(spec.strip() for spec in specs):
        models.setdefault(parse_delays(spec), spec)
    return tuple(models.values())
