"""``coded-als report``: figures and tables from stored results."""

from __future__ import annotations

from pathlib import Path

import click

from coded_als.cli.common import style_from, takes_style
from coded_als.cli.help import CommandWithExamples


@click.command(
    "report", cls=CommandWithExamples,
    examples=(
        "coded-als report results/",
        "coded-als report results/ --figures pdf --width 3.4in",
    ),
)  # fmt: skip
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--figures", metavar="FORMATS",
    help="Save each figure to FOLDER/figures too: pdf, svg, png, or several with commas.",
)  # fmt: skip
@takes_style
def command(folder: Path, figures: str | None, width: str | None, rc: tuple[str, ...]) -> None:
    """Write FOLDER/report.html from the results that `sweep` or `reproduce` stored there."""
    from coded_als.experiments.report.html_report import write_report
    from coded_als.experiments.report.saving import parse_formats

    with style_from(width, rc):
        click.echo(write_report(folder, parse_formats(figures) if figures else ()))
    if figures:
        click.echo(folder / "figures")
