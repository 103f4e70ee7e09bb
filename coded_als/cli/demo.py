"""``coded-als demo``: coding against waiting for everybody and against copies, on real workers with stragglers."""

from __future__ import annotations

from dataclasses import asdict

import click

from coded_als.cli.common import print_json, progress
from coded_als.experiments.demo import COLUMNS, DELAYS, RANK, ROWS, WORKERS, DemoResult, comparison, run_demo


@click.command("demo")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the matrix and the delays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(seed: int, as_json: bool) -> None:
    """The same factorisation uncoded, in copies and coded, on 30 real workers of which some are slow by a second."""
    with progress("starting workers") as line:
        outcomes = run_demo(seed, lambda name: line.say(f"factorising, {name}"))
    if as_json:
        print_json({"delays": DELAYS, "workers": WORKERS, "schemes": [asdict(o) for o in outcomes]})
        return
    _print_table(outcomes)
    click.echo(click.wrap_text(comparison(outcomes), 105))


def _print_table(outcomes: list[DemoResult]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{ROWS} x {COLUMNS} matrix, rank {RANK}, {WORKERS} workers, delays {DELAYS} (wall seconds)",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("code", no_wrap=True)
    for name in ("share", "total s", "s / iteration", "iterations", "responses used", "error against optimum"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        fewest, most = outcome.responses
        used = f"{most} of {WORKERS}" if fewest == most else f"{fewest}-{most} of {WORKERS}"
        table.add_row(
            outcome.scheme,
            f"{outcome.share:.1%}",
            f"{outcome.seconds:.2f}",
            f"{outcome.seconds_per_iteration:.3f}",
            str(outcome.iterations),
            used,
            f"{outcome.relative_error:.0e}",
        )
    Console(width=125).print(table)
    click.echo("share: what a worker holds of the matrix that is multiplied")
