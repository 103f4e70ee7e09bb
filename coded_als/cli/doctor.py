"""``coded-als doctor``: whether this machine is fit to run coded-als."""

from __future__ import annotations

import click

from coded_als import __version__
from coded_als.cli.common import print_json
from coded_als.cli.system_checks import CHECKS


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(as_json: bool) -> None:
    """Check this machine: versions, BLAS threads, worker processes, decoding against NumPy; and measure its speeds.

    `plan --calibrate` measures the same and plans with it.

    Exits with 1 when something is wrong.
    """
    findings = [finding for check in CHECKS for finding in check()]
    if as_json:
        print_json({"version": __version__, "findings": [vars(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else "WARN"
            click.echo(f"{mark}  {finding.name}: {finding.found}{'' if finding.ok else '. ' + finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
