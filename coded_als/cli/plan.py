"""``coded-als plan``: whether coding pays on a cluster, and with which code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.common import SIZE, TIME, print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.machine_options import iterations_from, machine_from, takes_iterations, takes_machine
from coded_als.cluster.machine import Machine
from coded_als.experiments.plan_report import plan_document, plan_text
from coded_als.experiments.sweep.grids import readable_delays
from coded_als.planner.choice import MOST_DRAWS
from coded_als.planner.cluster_plan import make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import GUARD_VECTORS
from coded_als.planner.timing import Workload


@click.command(
    "plan", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als plan --workers 30 --rows 20000 --cols 3000 --rank 50 --delays exp:mean=20ms",
        "coded-als plan --workers 30 --rows 1000000 --cols 20000 --rank 50 --delays delays.csv",
    ),
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1), required=True, help="Number of workers.")
@click.option("--rows", type=click.IntRange(1), required=True, help="Rows m of the matrix.")
@click.option("--cols", type=click.IntRange(1), required=True, help="Columns n of the matrix.")
@click.option("--rank", type=click.IntRange(1), required=True, help="Rank of the factors.")
@click.option("--entries", type=click.IntRange(1), help="Nonzero entries of a sparse matrix.  [default: dense]")
@click.option("--delays", required=True, metavar="SPEC|FILE", help="Delays of the workers: a SPEC, or a recorded CSV.")
@click.option("--memory-per-worker", type=SIZE, help="Exclude codes that need more, like 2GB.")
@click.option("--calibrate", is_flag=True, help="Measure this machine, for local workers; other options still count.")
@takes_machine
@click.option(
    "--message", type=TIME, help=f"Time of the master for a message.  [default: {TIME.written(Machine.message_s)}]"
)
@click.option("--cores", type=click.IntRange(1), help="Cores that the workers share.  [default: each has its own]")
@takes_iterations
@click.option(
    "--decoding-tolerance", type=float, help="Largest relative error of a decoded product.  [default: that of CodedALS]"
)
@click.option(
    "--repeats",
    default=MOST_DRAWS,
    show_default=True,
    type=click.IntRange(2),
    help="Most draws for two codes that fewer draws cannot tell apart.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the delays.")
@click.option("--details", is_flag=True, help="Print all candidates, limits, exclusions and assumptions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    workers: int, memory_per_worker: float | None, repeats: int, seed: int, details: bool, as_json: bool, **options: Any
) -> None:
    """Decide whether coding pays on a cluster, and how.

    Uncoded, replicated and coded fits are timed on a virtual cluster like yours. The verdict compares the fastest with a
    code and the fastest without.
    """
    delays = options["delays"]
    workload = Workload(
        Size(options["rows"], options["cols"], options["rank"], options["entries"]),
        readable_delays(f"trace:{delays}" if Path(delays).is_file() else delays),
        _machine(options),
        options["decoding_tolerance"],
        iterations_from(options),
    )
    most = float("inf") if memory_per_worker is None else memory_per_worker
    with progress("drawing delays"):
        plan = make_plan(workers, workload, memory_bytes=most, repeats=repeats, seed=seed)
    if as_json:
        print_json(plan_document(plan, workers, workload))
    else:
        click.echo(plan_text(plan, workers, workload, details=details))


def _machine(options: dict[str, Any]) -> Machine:
    """The default machine, or this one with --calibrate, with the values of the options."""
    machine = Machine()
    if options["calibrate"]:
        from coded_als.experiments.calibration import calibrated

        with progress("measuring this machine"):
            machine = calibrated(options["rank"] + GUARD_VECTORS)
    return machine_from(options, machine)
