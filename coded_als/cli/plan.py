"""``coded-als plan``: whether coding pays on a cluster, and with which code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.common import DELAY_SPECS, print_json, progress
from coded_als.cli.machine_options import iterations_from, machine_from, parse_bytes, takes_iterations, takes_machine
from coded_als.cluster.machine import Machine
from coded_als.experiments.plan_report import plan_document, plan_text
from coded_als.experiments.sweep.grids import readable_delays
from coded_als.planner.choice import MOST_DRAWS
from coded_als.planner.cluster_plan import make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import GUARD_VECTORS
from coded_als.planner.timing import Workload


@click.command("plan", epilog=DELAY_SPECS)
@click.option("--workers", type=click.IntRange(1), required=True, help="W.")
@click.option("--rows", type=click.IntRange(1), required=True, help="Rows m of the matrix.")
@click.option("--cols", type=click.IntRange(1), required=True, help="Columns n of the matrix.")
@click.option("--rank", type=click.IntRange(1), required=True, help="Rank d.")
@click.option(
    "--entries", type=click.IntRange(1), help="Of a sparse matrix, those that are not zero.  [default: dense]"
)
@click.option("--delays", required=True, help="Delays as a SPEC below, or the CSV of a recorded trace.")
@click.option("--memory-per-worker", default="", help="Like 2GB: excludes schemes that need more.")
@click.option("--calibrate", is_flag=True, help="Measure this machine, for local workers; other options still count.")
@takes_machine
@click.option("--message", type=float, help=f"Seconds of the master for any message.  [default: {Machine.message_s:g}]")
@click.option(
    "--cores",
    type=click.IntRange(1),
    help="Cores that the workers share, like those of `fit`.  [default: each has its own]",
)
@takes_iterations
@click.option("--tolerance", type=float, help="Relative error that a decoded product may have [default: CodedALS's].")
@click.option(
    "--repeats",
    default=MOST_DRAWS,
    show_default=True,
    type=click.IntRange(2),
    help="The most draws of two schemes that fewer do not tell apart.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the delays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(workers: int, memory_per_worker: str, repeats: int, seed: int, as_json: bool, **options: Any) -> None:
    """Time uncoded, replicated and coded schemes on a virtual cluster like yours, and recommend one."""
    delays = options["delays"]
    workload = Workload(
        Size(options["rows"], options["cols"], options["rank"], options["entries"]),
        readable_delays(f"trace:{delays}" if Path(delays).is_file() else delays),
        _machine(options),
        options["tolerance"],
        iterations_from(options),
    )
    most = parse_bytes(memory_per_worker, "--memory-per-worker") if memory_per_worker else float("inf")
    with progress("drawing delays"):
        plan = make_plan(workers, workload, memory_bytes=most, repeats=repeats, seed=seed)
    if as_json:
        print_json(plan_document(plan, workers, workload))
    else:
        click.echo(plan_text(plan, workers, workload))


def _machine(options: dict[str, Any]) -> Machine:
    """The default machine, or this one with --calibrate, with the values of the options."""
    machine = Machine()
    if options["calibrate"]:
        from coded_als.experiments.calibration import calibrated

        with progress("measuring this machine"):
            machine = calibrated(options["rank"] + GUARD_VECTORS)
    return machine_from(options, machine)
