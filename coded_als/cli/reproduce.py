"""``coded-als reproduce``: results of the paper beside our own."""

from __future__ import annotations

from pathlib import Path

import click

from coded_als.cli.common import cell_progress
from coded_als.cli.help import CommandWithExamples
from coded_als.errors import UsageError


@click.group("reproduce")
def command() -> None:
    """Reproduce the tables of the paper."""


@command.command(
    "table1", cls=CommandWithExamples,
    examples=("coded-als reproduce table1", "coded-als reproduce table1 --full --out table1/"),
)  # fmt: skip
@click.option(
    "--quick",
    "full",
    flag_value=False,
    default=False,
    type=bool,
    help="Run a tenth of the size, under a minute.  [default]",
)
@click.option(
    "--full", "full", flag_value=True, type=bool, help="Run the paper's size, and real workers: up to 20 minutes."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of matrices and delays.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the results.  [default: out/table1-quick or -full]"
)
def table1(full: bool, seed: int, out: Path | None) -> None:
    """Reproduce the 17 cells of Table I.

    Each cell shows the paper's seconds, its formula, a virtual clock, decoding errors and a verdict.
    """
    from coded_als.experiments.environment import environment
    from coded_als.experiments.sweep.result_folder import ProblemSize, ResultFolder
    from coded_als.experiments.table1.findings import findings, table_cells
    from coded_als.experiments.table1.paper_table import FULL, NUMBERS, QUICK, Table1Row, read_wall
    from coded_als.experiments.table1.reproduction import run_table1
    from coded_als.experiments.text_tables import as_text

    effort = FULL if full else QUICK
    out = out or Path("out") / ("table1-full" if full else "table1-quick")
    # going on where an earlier run stopped is always right here: the spec is the same or it is refused
    with ResultFolder[Table1Row](out, effort.document(seed), resume=True, columns=NUMBERS) as folder:
        folder.note_environment(environment())
        with cell_progress() as tell:
            rows = run_table1(folder, effort, seed, tell)
    click.echo(as_text(*table_cells(rows, read_wall(out))))
    click.echo(
        "survived r/e/c: iterations that stay with exact arithmetic at real (Chebyshev), equispaced, circle points\n"
    )
    size: ProblemSize = {"rows": effort.size.rows, "columns": effort.size.columns, "rank": effort.size.rank}
    for finding in findings(rows, size):
        click.echo(f"{finding.verdict.upper()}: {finding.subject}: {finding.evidence}.")
    try:
        from coded_als.experiments.report.html_report import write_report
    except UsageError as missing:
        click.echo(f"No report: {missing}", err=True)
    else:
        click.echo(f"\n{write_report(out)}")
