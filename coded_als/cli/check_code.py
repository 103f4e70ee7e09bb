"""``coded-als check-code``: the invariants of a code on random survivors, and the survivors that decode worst."""

from __future__ import annotations

from dataclasses import asdict

import click

from coded_als.cli.common import print_json, progress
from coded_als.cli.help import CommandWithExamples


@click.command(
    "check-code", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als check-code systematic:p=21 --workers 30",
        "CODED_ALS_PLUGINS=my_code coded-als check-code light:p=12",
    ),
)  # fmt: skip
@click.argument("spec")
@click.option("--workers", type=int, default=30, show_default=True, help="Number of workers.")
@click.option("--sets", type=int, default=200, show_default=True, help="Random sets of survivors for each invariant.")
@click.option(
    "--search", "looked_at", type=int, default=2000, show_default=True,
    help="Sets of survivors that the search may try.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of operands, survivors and search.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(spec: str, workers: int, sets: int, looked_at: int, seed: int, as_json: bool) -> None:
    """Test the invariants of the code SPEC, and search the survivors that decode worst.

    The exit code is 1 if the code breaks an invariant.
    """
    from coded_als.testing import check_code

    with progress("decoding") as line:
        line.say(f"decoding {spec} on {workers} workers")
        report = check_code(spec, workers, sets=sets, looked_at=looked_at, seed=seed)
    if as_json:
        print_json({**asdict(report), "holds": report.holds, "search": report.search})
    else:
        click.echo(str(report))
    raise SystemExit(0 if report.holds else 1)
