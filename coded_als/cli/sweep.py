"""``coded-als sweep``: a grid of schemes on the virtual clock or on real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from coded_als.cli.clusters import iterations_from, machine_from, takes_iterations, takes_machine
from coded_als.cli.common import cell_progress, choice
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.live import LiveOptions, displayed, live_options
from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import DIMENSIONS, Cell, Grid, make_grid
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import SOLVERS, default_solver

if TYPE_CHECKING:
    from coded_als.experiments.sweep.grids import SweepSpec

COMPARED = ("uncoded", "replicated:copies=2", "systematic", "entangled", "entangled:points=real")


@click.command(
    "sweep", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als sweep --workers 10:50:10 --partitions 2:6 --out results/",
        "coded-als sweep --code uncoded --code systematic:p=21 --workers 30 --out results/",
    ),
)  # fmt: skip
@choice("--cluster", ["virtual", "local"], "virtual", help="A virtual clock, or worker processes on this machine.")
@click.option(
    "--code", "codes", multiple=True, default=COMPARED, metavar="SPEC",
    help=f"A code; may be repeated.  [default: {', '.join(COMPARED)}]",
)  # fmt: skip
@click.option(
    "--partitions", default="2:6", show_default=True, metavar="RANGE",
    help="h of entangled codes: 2:6, 2:10:2 or 2,4,8.",
)  # fmt: skip
@click.option("--workers", default="10:50:10", show_default=True, metavar="RANGE", help="Numbers of workers.")
@click.option("--stragglers", default="0", show_default=True, metavar="RANGE", help="Workers that never respond.")
@click.option("--protocol", default="fused", show_default=True, metavar="NAMES", help="fused, paper, or both.")
@click.option(
    "--solver", default=default_solver(), show_default=True, metavar="NAMES", help=f"Some of {', '.join(SOLVERS)}."
)
@click.option(
    "--delays", multiple=True, default=["exp:mean=20ms"], show_default=True, metavar="SPEC",
    help="Delays; may be repeated.",
)  # fmt: skip
@click.option("--rows", default=2400, show_default=True, type=click.IntRange(1), help="Rows m of the matrix.")
@click.option("--cols", default=1500, show_default=True, type=click.IntRange(1), help="Columns n of the matrix.")
@click.option("--rank", default=200, show_default=True, type=click.IntRange(1), help="Rank of the factors.")
@takes_iterations
@click.option(
    "--decoding-tolerance", type=float, help="Largest relative error of a decoded product.  [default: that of CodedALS]"
)
@takes_machine
@click.option("--numerics", is_flag=True, help="Run the algorithm to convergence instead of drawing times alone.")
@click.option("--repeats", default=20, show_default=True, type=click.IntRange(1), help="Fits or draws of each cell.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of matrices and delays.")
@click.option("-j", "processes", default=1, show_default=True, type=click.IntRange(1), help="Cells at once (virtual).")
@click.option("--config", type=click.Path(path_type=Path), help="Read options from a TOML file; those given here win.",
              callback=lambda context, _, path: _read_spec_file(context, path), is_eager=True)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List the cells and those that cannot run; run nothing.")
@click.option("--resume", is_flag=True, help="Continue the sweep in --out; options given here add values to it.")
@live_options
@click.option("--parquet", is_flag=True, help="Also write Parquet files (needs coded-als[parquet]).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.pass_context
def command(
    context: click.Context,
    /,
    out: Path,
    processes: int,
    dry_run: bool,
    resume: bool,
    parquet: bool,
    live: bool,
    serve: str | None,
    serve_token: Path | None,
    **options: Any,
) -> None:
    """Run a grid of codes, workers, delays and solvers.

    Every code meets the same stragglers. The times of all rounds are in times.jsonl. An interrupted sweep continues
    with `--out FOLDER --resume` alone.
    """
    from coded_als.experiments.calibration import environment
    from coded_als.experiments.sweep.grids import require_feasible
    from coded_als.experiments.sweep.result_folder import ResultFolder, finish_times
    from coded_als.experiments.sweep.rows import STATUSES, SweepRow, require_pyarrow
    from coded_als.experiments.sweep.runs import leading_cells, run_sweep, write_examples
    from coded_als.experiments.sweep.settings import document

    grid = make_grid(options, options["codes"], options["delays"])
    if resume:
        options, grid = _resumed(context, out, options, grid)
    cells, spec = grid.cells(), _spec(options)
    if spec.cluster == "local" and processes > 1:
        raise UsageError(f"-j must be 1 with --cluster local, where cells would slow each other; got {processes}.")
    if parquet:
        require_pyarrow()
    if dry_run:
        _print_plan(spec, cells)
        return
    require_feasible(spec, cells)
    store = ResultFolder[SweepRow](out, document(spec, grid, cells), resume=resume, columns=spec.columns)
    with store as folder:
        folder.note_environment(environment())
        with _telling(spec, len(cells), LiveOptions(live, serve, serve_token)) as tell:
            run_sweep(folder, spec, cells, processes, tell)
        keys = [cell.key() for cell in cells]
        finish_times(out, keys, parquet=parquet)
        rows = folder.finish(keys, parquet=parquet)
        if spec.cluster == "virtual":
            first = cells[0].delays
            leading = leading_cells([row for row in rows if row["cell"]["delays"] == first])
            write_examples(out, leading, spec.workload(first), spec.seed)
    if any(row["status"] == "done" for row in rows):
        _print_findings(out)
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    click.echo(f"{out}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    click.echo(f"coded-als report {out}   # figures and tables in one HTML file")


def _print_findings(out: Path) -> None:
    """The findings of a report in words, where its figures could be drawn."""
    try:
        from coded_als.experiments.report.html_report import open_results, sentences
    except UsageError:  # without matplotlib the reports, and their words, are not installed
        return
    for part in open_results(out).slices:
        click.echo(f"{part.workers[-1]} workers, {part.name}: {' '.join(sentences(part))}\n")


@contextmanager
def _telling(spec: SweepSpec, cells: int, options: LiveOptions) -> Iterator[Callable[..., None]]:
    """The function that shows the progress: in a bar, or in the views of ``--live`` and ``--serve``."""
    if not options.live and options.serve is None:
        with cell_progress() as tell:
            yield tell
        return
    from coded_als.experiments.live.status import SweepStatus

    size = spec.size
    title = f"sweep of {cells} cells x {spec.repeats}, {size.rows} x {size.columns} matrix, rank {size.rank}"
    status = SweepStatus(title, spec.clock)
    with displayed(status, options):
        yield status.tell


def _read_spec_file(context: click.Context, path: Path | None) -> None:
    """Let the values of the file take the place of the defaults."""
    if path is None:
        return
    from coded_als.experiments.sweep.settings import read_spec_file

    others = ("processes", "config", "dry_run", "resume", "parquet", "out", "live", "serve")
    named = {
        option.opts[0].removeprefix("--"): option for option in context.command.params if option.name not in others
    }
    values = read_spec_file(path, list(named), [name for name, option in named.items() if option.multiple])
    context.default_map = {str(named[key].name): value for key, value in values.items()}


def _resumed(context: click.Context, out: Path, options: dict[str, Any], grid: Grid) -> tuple[dict[str, Any], Grid]:
    """Options and grid of the sweep in ``out``, with those that were typed added."""
    from coded_als.experiments.sweep.settings import read_settings

    asked = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    given = {name for name in options if context.get_parameter_source(name) in asked}
    stored = read_settings(out)
    if stored is None and not given:
        raise UsageError(
            f"--resume needs the folder of a sweep; {out} holds none. Check the path, or give the ranges of a sweep."
        )
    if stored is None:
        return options, grid
    known, old = stored
    others = {field: getattr(old, field) for option, field in DIMENSIONS.items() if option not in given}
    return {**options, **{k: v for k, v in known.items() if k not in given}}, old.joined(replace(grid, **others))


def _print_plan(spec: SweepSpec, cells: Sequence[Cell]) -> None:
    from coded_als.experiments.sweep.grids import refusal

    refusals = [refusal(spec, cell) for cell in cells]
    cannot = sum(reason is not None for reason in refusals)
    click.echo(
        f"{len(cells)} cells x {spec.repeats} repetitions, {spec.clock} seconds; {cannot} cannot run; nothing was run"
    )
    for cell, reason in zip(cells, refusals, strict=True):
        note = "" if reason is None else f"   cannot run: {reason}"
        click.echo(f"  {cell.delays}, W={cell.scheme.workers}, {cell.stragglers} dead: {cell.scheme.label}{note}")


def _spec(options: dict[str, Any]) -> SweepSpec:
    from coded_als.experiments.sweep.grids import SweepSpec

    return SweepSpec(
        options["cluster"],
        options["numerics"],
        Size(options["rows"], options["cols"], options["rank"]),
        machine_from(options),
        options["decoding_tolerance"],
        iterations_from(options),
        options["repeats"],
        options["seed"],
    )
