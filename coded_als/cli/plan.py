"""``coded-als plan``: whether coding pays on a cluster, and with which code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.clusters import (
    ClusterOptions,
    cluster_of,
    cluster_words,
    iterations_from,
    machine_from,
    require_cluster,
    takes_iterations,
    takes_machine,
    takes_machines,
)
from coded_als.cli.common import SIZE, picked, print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.delays.spec import trace_files
from coded_als.experiments.plan_report import (
    alternatives,
    alternatives_text,
    calibration_row,
    calibration_text,
    costs,
    costs_text,
    leading,
    plan_document,
    plan_text,
    trials_text,
    try_rows,
)
from coded_als.experiments.sweep.grids import readable_delays
from coded_als.planner.choice import MOST_DRAWS, make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import GUARD_VECTORS
from coded_als.planner.timing import Workload

if TYPE_CHECKING:
    from coded_als.experiments.calibration import Calibration


@click.command(
    "plan", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als plan --workers 30 --rows 20000 --cols 3000 --rank 50 --delays exp:mean=20ms",
        "coded-als plan --workers 30 --rows 1000000 --cols 20000 --rank 50 --delays delays.csv",
        "coded-als plan --workers 20 --rows 9000 --cols 5000 --rank 20 --delays delays.csv --listen tcp://0.0.0.0:5555",
    ),
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1), required=True, help="Number of workers.")
@click.option("--rows", type=click.IntRange(1), required=True, help="Rows m of the matrix.")
@click.option("--cols", type=click.IntRange(1), required=True, help="Columns n of the matrix.")
@click.option("--rank", type=click.IntRange(1), required=True, help="Rank of the factors.")
@click.option("--entries", type=click.IntRange(1), help="Nonzero entries of a sparse matrix.  [default: dense]")
@click.option("--delays", required=True, metavar="SPEC|FILE", help="Delays of the workers: a SPEC, or a recorded CSV.")
@click.option("--memory-per-worker", type=SIZE, help="Exclude codes that need more, like 2GB.")
@click.option(
    "--calibrate", is_flag=True, help="Measure this machine and its load, for local workers; other options still count."
)
@takes_machine
@click.option("--cores", type=click.IntRange(1), help="Cores that the workers share.  [default: each has its own]")
@takes_iterations
@click.option(
    "--decoding-tolerance", type=float, help="Largest relative error of a decoded product.  [default: that of CodedALS]"
)
@click.option(
    "--repeats", default=MOST_DRAWS, show_default=True, type=click.IntRange(2),
    help="Most draws for two codes that fewer draws cannot tell apart.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the delays.")
@click.option(
    "--what-if", is_flag=True, help="Plan also for more workers, without the slowest, and for half the memory."
)
@click.option("--price-per-hour", type=click.FloatRange(0, min_open=True), help="Price of a machine, to tell costs.")
@click.option(
    "--try", "runs", is_flag=False, flag_value=1, default=0, type=click.IntRange(0),
    help="Run the first three rows N times (once without a number) on the cluster.",
)  # fmt: skip
@takes_machines
@click.option("--details", is_flag=True, help="Print all candidates, limits, exclusions and assumptions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(context: click.Context, /, details: bool, as_json: bool, **options: Any) -> None:
    """Decide whether coding pays on a cluster, and how.

    Uncoded, replicated and coded fits are timed on a virtual cluster like yours. The verdict compares the fastest with a
    code and the fastest without.
    """
    calibration = _calibration(options)
    workload = Workload(
        Size(options["rows"], options["cols"], options["rank"], options["entries"]),
        readable_delays(_spec(options["delays"])),
        machine_from(options, None if calibration is None else calibration.machine),
        options["decoding_tolerance"],
        iterations_from(options),
    )
    workers, most = options["workers"], options["memory_per_worker"]
    limits: dict[str, Any] = {"repeats": options["repeats"], "seed": options["seed"]}
    limits["memory_bytes"] = float("inf") if most is None else most
    cluster = _cluster(context, options)
    with progress("drawing delays"):
        plan = make_plan(workers, workload, **limits)
        others = alternatives(plan, workers, workload, **limits) if options["what_if"] else []
    extra: dict[str, Any] = {}
    if calibration is not None:
        extra["calibration"] = calibration_row(plan, workload, calibration)
    if options["price_per_hour"] is not None:
        extra["costs"] = costs(plan, workers, options["price_per_hour"])
    if others:
        extra["what_if"] = [other.row for other in others]
    if not as_json:
        click.echo(plan_text(plan, workers, workload, details=details, cluster=cluster_words(cluster)))
        _tell(extra)
    if options["runs"]:
        with progress("starting workers") as line, cluster_of(cluster) as opened:
            line.say("trying the first rows")
            tried = try_rows(leading(plan)[:TRIED], workload, opened, options["runs"], options["seed"])
        extra["tried"] = [one.row for one in tried]
        if not as_json:
            click.echo(f"\n{trials_text(extra['tried'])}")
    if as_json:
        print_json(plan_document(plan, workers, workload, cluster_words(cluster)) | extra)


# Rows of the plan that --try runs.
TRIED = 3


def _tell(extra: dict[str, Any]) -> None:
    """Print the interval of a calibration, costs and alternatives."""
    if "calibration" in extra:
        click.echo(f"\n{calibration_text(extra['calibration'])}")
    if "costs" in extra:
        click.echo(f"\n{costs_text(extra['costs'])}")
    if "what_if" in extra:
        click.echo(f"\n{alternatives_text(extra['what_if'])}")


def _spec(delays: str) -> str:
    """The SPEC of delays that are given as one, or as the path of a recording."""
    return f"trace:{delays}" if Path(delays).is_file() or (delays.endswith(".csv") and ":" not in delays) else delays


def _cluster(context: click.Context, options: dict[str, Any]) -> ClusterOptions:
    """The cluster that the plan is for; its delays are injected where it is local and they are no recording."""
    spec = _spec(options["delays"])
    there = options["listen"] is not None or options["scheduler"] is not None or bool(trace_files(spec))
    own = {"delays": "none" if there else spec, "round_timeout_s": None}
    found = picked(ClusterOptions, {**options, **own})
    if options["runs"]:
        require_cluster(context, found)
    return found


def _calibration(options: dict[str, Any]) -> Calibration | None:
    """The machine at hand under its load, with --calibrate; values of the options count in place of measured ones."""
    if not options["calibrate"]:
        return None
    from coded_als.experiments.calibration import under_load

    with progress("measuring this machine"):
        found = under_load(options["rank"] + GUARD_VECTORS, options["workers"])
    return replace(found, quick=machine_from(options, found.quick), slow=machine_from(options, found.slow))
