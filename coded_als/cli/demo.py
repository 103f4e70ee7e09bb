"""``coded-als demo``: coding against waiting for everybody and against copies, on real workers with stragglers."""

from __future__ import annotations

from dataclasses import asdict

import click

from coded_als.cli.common import print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.experiments.demonstration import COLUMNS, DELAYS, RANK, ROWS, WORKERS, DemoResult, comparison, run_demo
from coded_als.experiments.text_tables import as_text


@click.command(
    "demo", cls=CommandWithExamples,
    examples=(
        "coded-als demo",
        "coded-als demo --json > demo.json",
    ),
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the matrix and the delays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(seed: int, as_json: bool) -> None:
    """Run one factorization uncoded, in copies and coded, on 30 worker processes.

    In each round, each worker is delayed by a second with probability 0.15.
    """
    with progress("starting workers") as line:
        outcomes = run_demo(seed, lambda name: line.say(f"factorizing, {name}"))
    if as_json:
        print_json({"delays": DELAYS, "workers": WORKERS, "schemes": [asdict(o) for o in outcomes]})
        return
    _print_table(outcomes)
    click.echo(click.wrap_text(comparison(outcomes), 105))


def _print_table(outcomes: list[DemoResult]) -> None:
    click.echo(f"{ROWS} x {COLUMNS} matrix, rank {RANK}, {WORKERS} workers, delays {DELAYS} (wall seconds)")
    names = ("share", "total s", "s / iteration", "iterations", "responses used", "error against optimum")
    click.echo(as_text(("code", *names), [_cells(outcome) for outcome in outcomes], first_left=True))
    click.echo("share: the part of the multiplied matrix that one worker holds")


def _cells(outcome: DemoResult) -> list[str]:
    fewest, most = outcome.responses
    return [
        outcome.scheme,
        f"{outcome.share:.1%}",
        f"{outcome.seconds:.2f}",
        f"{outcome.seconds_per_iteration:.3f}",
        str(outcome.iterations),
        f"{most} of {WORKERS}" if fewest == most else f"{fewest}-{most} of {WORKERS}",
        f"{outcome.relative_error:.0e}",
    ]
