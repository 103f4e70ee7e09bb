"""``coded-als sweep``: a grid of schemes on the virtual clock or on real workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.als.schemes import Size
from coded_als.als.timing import Iterations
from coded_als.cli.common import CODE_HELP
from coded_als.cluster.machine import Machine
from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import make_grid, require_feasible

if TYPE_CHECKING:
    from coded_als.experiments.sweep.sweep import SweepSpec

GRID = ("partitions", "workers", "stragglers", "protocol", "solver")
CODES = ("uncoded", "replicated:copies=2", "systematic", "entangled", "entangled:points=real")


@click.command("sweep")
@click.option("--cluster", type=click.Choice(["virtual", "local"]), default="virtual", show_default=True)
@click.option(
    "--code",
    "codes",
    multiple=True,
    default=CODES,
    help=f"{CODE_HELP}; may be repeated.  [default: {', '.join(CODES)}]",
)
@click.option("--partitions", default="2:6", show_default=True, help="h of entangled codes: 2:6, 2:10:2 or 2,4,8.")
@click.option("--workers", default="10:50:10", show_default=True, help="W, as a range.")
@click.option("--stragglers", default="0", show_default=True, help="Workers that never answer, as a range.")
@click.option("--protocol", default="fused", show_default=True, help="Among fused, paper.")
@click.option("--solver", default="lobpcg", show_default=True, help="Among als, lobpcg.")
@click.option(
    "--delays", multiple=True, default=["exp:mean=20ms"], show_default=True, help="Delay SPEC; may be repeated."
)
@click.option("--rows", default=2400, show_default=True, type=click.IntRange(1))
@click.option("--cols", default=1500, show_default=True, type=click.IntRange(1))
@click.option("--rank", default=200, show_default=True, type=click.IntRange(1))
@click.option("--als-iterations", default=Iterations.als, show_default=True, type=click.IntRange(1))
@click.option("--lobpcg-iterations", default=Iterations.lobpcg, show_default=True, type=click.IntRange(1))
@click.option("--tolerance", type=float, help="Relative error that a decoded product may have [default: CodedALS's].")
@click.option("--speed", default=Machine.multiplications_per_second, show_default=True, help="Multiplications/s.")
@click.option(
    "--bandwidth",
    default=Machine.bytes_per_second,
    show_default=True,
    help="Bytes/s of the master's link, which all messages share.",
)
@click.option("--latency", default=Machine.latency_s, show_default=True, help="Seconds of any message.")
@click.option("--numerics", is_flag=True, help="Run the algorithm to convergence instead of drawing times alone.")
@click.option("--repeats", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("-j", "processes", default=1, show_default=True, type=click.IntRange(1), help="Cells at once (virtual).")
@click.option("--dry-run", is_flag=True, help="Say what would run, and write nothing.")
@click.option("--resume", is_flag=True, help="Go on with the finished cells in --out.")
@click.option("--parquet", is_flag=True, help="Write results.parquet too (needs coded-als[parquet]).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
def command(out: Path, processes: int, dry_run: bool, resume: bool, parquet: bool, **options: Any) -> None:
    """Compare schemes over a grid; every scheme meets the same stragglers."""
    from coded_als.experiments.environment import environment
    from coded_als.experiments.sweep.example_runs import leading_schemes, write_examples
    from coded_als.experiments.sweep.store import STATUSES, ResultFolder
    from coded_als.experiments.sweep.sweep import run_sweep

    spec = _spec(options)
    cells = make_grid({name: options[name] for name in GRID}, options["codes"], options["delays"]).cells()
    require_feasible(cells, spec.size)
    if spec.cluster == "local" and processes > 1:
        raise UsageError(f"-j must be 1 with --cluster local, where cells would slow each other; got {processes}.")
    if dry_run:
        click.echo(f"{len(cells)} cells x {spec.repeats} repetitions, {spec.clock} seconds; nothing was run")
        for cell in cells:
            click.echo(f"  {cell.delays}, W={cell.scheme.workers}, {cell.stragglers} dead: {cell.scheme.label}")
        return
    with ResultFolder(out, spec.document(cells), resume=resume, columns=spec.columns) as folder:
        folder.note_environment(environment())
        run_sweep(folder, spec, cells, processes, _progress if sys.stderr.isatty() else lambda done, total: None)
        rows = folder.finish([cell.key() for cell in cells], parquet=parquet)
        if spec.cluster == "virtual":
            first = cells[0].delays
            leading = leading_schemes([row for row in rows if row["cell"]["delays"] == first])
            write_examples(out, leading, spec.workload(first), spec.seed)
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    click.echo(f"{out}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    click.echo(f"coded-als report {out}   # figures and tables in one HTML file")


def _spec(options: dict[str, Any]) -> SweepSpec:
    from coded_als.experiments.sweep.sweep import SweepSpec

    return SweepSpec(
        options["cluster"],
        options["numerics"],
        Size(options["rows"], options["cols"], options["rank"]),
        Machine(options["speed"], options["bandwidth"], options["latency"]),
        options["tolerance"],
        Iterations(options["als_iterations"], options["lobpcg_iterations"]),
        options["repeats"],
        options["seed"],
    )


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done}/{total} cells", err=True, nl=done == total)
