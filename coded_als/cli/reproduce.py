"""``coded-als reproduce``: results of the paper beside our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.clusters import machine_from, takes_machine
from coded_als.cli.common import TIME, cell_progress, style_from, takes_style
from coded_als.cli.help import CommandWithExamples
from coded_als.errors import UsageError


@click.group("reproduce")
def command() -> None:
    """Reproduce the tables of the paper."""


@command.command(
    "table1", cls=CommandWithExamples,
    examples=(
        "coded-als reproduce table1",
        "coded-als reproduce table1 --full --out table1/",
        "coded-als reproduce table1 --workers 50:200:50 --partitions 2:13 --width 3.4in",
    ),
)  # fmt: skip
@click.option(
    "--quick", "full", flag_value=False, default=False, type=bool,
    help="Run a tenth of the size, under a minute.  [default]",
)  # fmt: skip
@click.option(
    "--full", "full", flag_value=True, type=bool, help="Run the paper's size, and real workers: up to 20 minutes."
)
@click.option("--workers", help="Extend the table to other W: 50:200:50 or 50,200.")
@click.option("--partitions", default="2:6", show_default=True, help="h of codes that leave it open, with --workers.")
@click.option(
    "--code", "codes", multiple=True, default=["entangled:points=real"], show_default=True,
    help="A code SPEC, with --workers; may be repeated.",
)  # fmt: skip
@click.option(
    "--delays", multiple=True, default=["fitted"], show_default=True,
    help="A delay SPEC, or fitted: the law of (46); with --workers; may be repeated.",
)  # fmt: skip
@click.option(
    "--repeats", default=5, show_default=True, type=click.IntRange(1), help="Runs of each cell, with --workers."
)
@takes_machine
@takes_style
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of matrices and delays.")
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Folder for the results.  [default: out/table1-quick, -full or -extended]",
)  # fmt: skip
def table1(full: bool, seed: int, out: Path | None, workers: str | None, **options: Any) -> None:
    """Reproduce the 17 cells of Table I.

    Each cell shows the paper's seconds, its formula, a virtual clock, decoding errors and a verdict. With --workers the
    table has other W: formula (46), draws of its law, and the virtual clock without and with the master's work.
    """
    if workers is not None:
        _extended(workers, seed, out or Path("out/table1-extended"), options)
        return
    from coded_als.experiments.calibration import environment
    from coded_als.experiments.sweep.result_folder import ProblemSize, ResultFolder
    from coded_als.experiments.table1.findings import findings, table_cells
    from coded_als.experiments.table1.paper_table import FULL, NUMBERS, QUICK, Table1Row, constants, fit_law, read_wall
    from coded_als.experiments.table1.reproduction import run_table1, sound_cells
    from coded_als.experiments.text_tables import as_text

    effort, law = FULL if full else QUICK, fit_law(sound_cells())
    out = out or Path("out") / ("table1-full" if full else "table1-quick")
    # going on where an earlier run stopped is always right here: the spec is the same or it is refused
    with ResultFolder[Table1Row](out, effort.document(seed, law), resume=True, columns=NUMBERS) as folder:
        folder.note_environment(environment())
        with cell_progress() as tell:
            rows = run_table1(folder, effort, law, seed, tell)
    click.echo(as_text(*table_cells(rows, read_wall(out))))
    click.echo(
        "survived r/e/c: iterations that stay with exact arithmetic at real (Chebyshev), equispaced, circle points\n"
    )
    click.echo(f"Fitted: {constants(law)}.")
    size: ProblemSize = {"rows": effort.size.rows, "columns": effort.size.columns, "rank": effort.size.rank}
    for finding in findings(rows, size):
        click.echo(f"{finding.verdict.upper()}: {finding.subject}: {finding.evidence}.")
    try:
        from coded_als.experiments.report.html_report import write_report
    except UsageError as missing:
        click.echo(f"No report: {missing}", err=True)
    else:
        click.echo(f"\n{write_report(out)}")


def _extended(workers: str, seed: int, out: Path, options: dict[str, Any]) -> None:
    """The table for other W: table.md, results.json and its figure."""
    from coded_als.delays import require_workers
    from coded_als.experiments.sweep.grids import distinct_delays, parse_range
    from coded_als.experiments.table1.extended import (
        FITTED,
        cells_of,
        documents,
        extended_rows,
        extended_table,
        extended_words,
    )
    from coded_als.experiments.table1.paper_table import fit_law
    from coded_als.experiments.table1.reproduction import sound_cells

    counts, hs = parse_range(workers, "workers"), parse_range(options["partitions"], "partitions")
    require_workers(max(counts))
    known = [FITTED] * (FITTED in options["delays"])
    delays = (*known, *distinct_delays([spec for spec in options["delays"] if spec != FITTED]))
    cells, law, machine = cells_of(counts, hs, options["codes"], delays), fit_law(sound_cells()), machine_from(options)
    with cell_progress() as tell:
        rows = extended_rows(cells, law, machine, options["repeats"], seed, tell)
    _store(out, extended_table(rows, markdown=True), documents(rows, law, machine))
    click.echo(extended_table(rows) + "\n")
    for line in extended_words(rows, law):
        click.echo(f"{line}.")
    if all(row.cell.partitions is None for row in rows):
        click.echo(f"No figure: no code leaves h open.\n\n{out}")
        return
    _draw(out / "table1-extended", "extended_times", rows, options["width"], options["rc"])
    click.echo(f"\n{out}")


def _store(out: Path, table: str, results: Any) -> None:
    """Write table.md and results.json."""
    import json

    from coded_als.experiments.sweep.result_folder import saying_what_failed

    with saying_what_failed(out, "Choose another --out."):
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(table + "\n")
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _draw(path: Path, figure: str, data: Any, width: str | None, rc: tuple[str, ...]) -> None:
    """Save a figure of `coded_als.experiments.report.table1_figures` in two formats, where figures are installed."""
    try:
        from coded_als.experiments.report import table1_figures
    except UsageError as missing:
        click.echo(f"No figure: {missing}", err=True)
        return
    with style_from(width, rc):
        for suffix in ("svg", "pdf"):
            getattr(table1_figures, figure)(data).savefig(f"{path}.{suffix}")


class Times(click.ParamType):  # type: ignore[type-arg]
    """Several times with their units, separated by commas."""

    name = "times"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        found = tuple(TIME.convert(part.strip(), param, ctx) for part in value.split(","))
        if not all(found):
            raise UsageError(f"--work must be times above 0; got {value!r}.")
        return found


@command.command(
    "when-coding-pays", cls=CommandWithExamples,
    examples=(
        "coded-als reproduce when-coding-pays",
        "coded-als reproduce when-coding-pays --delays measured:lambda --workers 10,30 --work 1ms,100ms",
    ),
)  # fmt: skip
@click.option("--workers", default="10,30,100,300,1000", show_default=True, help="W: 10,30 or 10:50:10.")
@click.option(
    "--work",
    type=Times(),
    default="1ms,30ms,1s",
    show_default=True,
    metavar="TIME,...",
    help="Times of one worker for 1/W of a product.",
)
@click.option(
    "--delays", multiple=True, help="A delay SPEC; may be repeated.  [default: eleven, measured and synthetic]",
)  # fmt: skip
@click.option("--runs", default=200, show_default=True, type=click.IntRange(2), help="Fits of every setting.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the delays.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/when-coding-pays"), show_default=True,
    help="Folder for the results.",
)  # fmt: skip
@takes_style
def when_coding_pays(
    workers: str,
    work: tuple[float, ...],
    delays: tuple[str, ...],
    runs: int,
    seed: int,
    out: Path,
    width: str | None,
    rc: tuple[str, ...],
) -> None:
    """Compare codes with the methods of engineers, at equal memory.

    These are copies, hedged requests and speculative execution. The command writes table.md, results.json and a figure in two
    formats; the defaults take some minutes.
    """
    from coded_als.delays import require_workers
    from coded_als.experiments.sweep.grids import distinct_delays, parse_range
    from coded_als.experiments.when_coding_pays import (
        DELAYS,
        grid_of,
        measured_outcomes,
        ratio_table,
        rounds_table,
        verdict_lines,
    )

    counts = parse_range(workers, "workers", least=2)
    require_workers(max(counts))
    grid = list(grid_of(distinct_delays(delays or DELAYS), work, counts))
    with cell_progress() as tell:
        found = measured_outcomes(grid, runs, seed, tell)
    tables = f"{ratio_table(found, markdown=True)}\n\n{rounds_table(found, markdown=True)}"
    _store(out, tables, [outcome.document() for outcome in found])
    click.echo("time of a fit, best rival over best code:\n" + ratio_table(found) + "\n")
    click.echo("rounds of a fit from which the code is faster, encoding included:\n" + rounds_table(found) + "\n")
    for line in verdict_lines(found):
        click.echo(f"{line}.")
    _draw(out / "when-coding-pays", "rival_over_code", found, width, rc)
    click.echo(f"\n{out}")
