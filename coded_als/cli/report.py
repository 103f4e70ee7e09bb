"""``coded-als report``: one HTML file from stored results."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write FOLDER/report.html from what sweep or reproduce stored there; nothing is run."""
    from coded_als.experiments.report.report import write_report

    click.echo(write_report(folder))
