"""``coded-als fit``: factorise a rating matrix and save the model."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from coded_als.als import CodedALS, Iteration
from coded_als.als.phases import Where
from coded_als.cli.common import CLUSTERS, Progress, open_cluster, print_json, progress, takes_columns
from coded_als.cli.fit_summary import facts_of, facts_of_coded, last_change, print_summary
from coded_als.cli.live import live_options, looked_at
from coded_als.cli.methods import make_model
from coded_als.cli.outputs import Recording, require_outputs, save_recordings, timeline_recorder
from coded_als.cli.spec_help import CODE_SPECS, DELAY_SPECS
from coded_als.cluster import Cluster, Observer
from coded_als.cluster.recording import TraceRecorder
from coded_als.cluster.verification import VERIFY
from coded_als.data import RatingData, load_ratings
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import UsageError
from coded_als.models.registry import MODEL_HOMES

# the options that every method takes; the others steer the coded method or its cluster
COMMON = ("rank", "regularization", "iterations", "seed")
CLUSTER = (
    "workers",
    "cluster_kind",
    "scheduler",
    "delays",
    "round_timeout_s",
    "record_trace",
    "trace",
    "live",
    "serve",
)


@click.command("fit", epilog=f"{DELAY_SPECS}\n{CODE_SPECS}")
@click.argument("ratings")
@click.option("--out", type=click.Path(path_type=Path), help="Save the model to this file.")
@click.option(
    "--method",
    type=click.Choice(list(MODEL_HOMES)),
    default="coded",
    show_default=True,
    help="What is minimised, and how; docs/which-method.md compares them.",
)
@click.option("--dense", is_flag=True, help="Read delimited text as a matrix, one row a line.")
@click.option("--rank", type=int, help="Columns of both factors.  [default: the method's own; coded: 20]")
@click.option("--regularization", type=float, help="Ridge weight.  [default: the method's own; coded: 0]")
@click.option("--iterations", type=int, help="The most iterations to run.  [default: the method's own; coded: 500]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the start and the delays.")
@click.option("--workers", default=16, show_default=True, help="Workers W.")
@click.option(
    "--code",
    default="auto",
    show_default=True,
    help="How the work is spread, a SPEC as below; auto: entangled with --partitions, else systematic.",
)
@click.option("--partitions", type=int, help="h of the paper's code: rows and columns of D in h parts each.")
@click.option(
    "--protocol",
    type=click.Choice(["fused", "paper"]),
    default="fused",
    show_default=True,
    help="Rounds of an iteration of als: fused into one, or the paper's two.",
)
@click.option(
    "--solver",
    type=click.Choice(["lobpcg", "als"]),
    help="Locally optimal block iteration, or the paper's ALS.  [default: lobpcg; als with --protocol paper]",
)
@click.option(
    "--precomputation",
    type=click.Choice(get_args(Where)),
    default="auto",
    show_default=True,
    help="Where R^T R is formed; none: nowhere, workers hold the sparse rows of R in copies.",
)
@click.option(
    "--weighting",
    type=click.Choice(["none", "binary", "centred", "log"]),
    default="none",
    show_default=True,
    help="Factorise the ratings, a 1 for each, the ratings less their mean, or their logarithms.",
)
@click.option("--tolerance", default=5e-9, show_default=True, help="Relative distance from the optimum to stop at.")
@click.option(
    "--decoding-tolerance",
    type=float,
    help="Relative error that a decoded product may have.  [default: what the code can keep to]",
)
@click.option(
    "--verify", type=click.Choice(VERIFY), default="off", show_default=True, help="Check each response of a worker."
)
@click.option(
    "--cluster",
    "cluster_kind",
    type=click.Choice(CLUSTERS),
    default="local",
    show_default=True,
    help="Worker processes on this machine, this process alone, or a virtual clock.",
)
@click.option("--scheduler", help="Workers on a Dask cluster: tcp://HOST:8786, a scheduler file, or local:N processes.")
@click.option("--delays", default="none", show_default=True, help="Delays injected into the workers, a SPEC as below.")
@click.option("--round-timeout", "round_timeout_s", type=float, help="Seconds that a round may take.  [default: 600]")
@click.option("--record-trace", type=click.Path(path_type=Path), help="Write the delays as a CSV to replay.")
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Write a timeline: .pdf, .svg or .png, else for Perfetto (Chrome trace).",
)
@live_options
@takes_columns
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(
    context: click.Context,
    /,
    ratings: str,
    out: Path | None,
    method: str,
    dense: bool,
    columns: tuple[str, ...] | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Factorise RATINGS and save the model.

    RATINGS is delimited text `user item rating [time]` or `user item` (counted), a .parquet file, a .npz (scipy sparse),
    .npy (dense) or .mtx file, or `synthetic:m=2400,n=1500,d=200,noise=0.1`. For the coded method missing ratings count as zeros.
    """
    if method != "coded":
        _refuse_foreign_options(context, method)
    if options["scheduler"] is not None and context.get_parameter_source("cluster_kind") is ParameterSource.COMMANDLINE:
        raise UsageError("--scheduler and --cluster must not be given together; got both. Remove one of them.")
    parse_delays(options["delays"])
    require_workers(options["workers"])
    inputs = {ratings: "the ratings"} | dict.fromkeys(trace_files(options["delays"]), "the delays")
    require_outputs({"--out": out, "--record-trace": options["record_trace"], "--trace": options["trace"]}, inputs)
    data = load_ratings(ratings, dense=dense, columns=columns)
    summary = fit_coded(data, options) if method == "coded" else fit_sparse(data, method, options)
    model: Any = summary.pop("fitted")
    recorders = summary.pop("recorders", [])
    model.set_ids(data.user_ids, data.item_ids)
    if out is not None:
        model.save(out)
    summary["model"] = None if out is None else str(out)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    # last: a disk that is full by now costs a recording, not the model
    save_recordings(recorders)


def fit_coded(data: RatingData, options: dict[str, Any]) -> dict[str, Any]:
    """Fit `CodedALS` on a cluster of its own.

    Returns the model under ``fitted``, what was recorded under ``recorders``, and what ``--json`` prints.

    Parameters
    ----------
    data
        The ratings.
    options
        Those of the command, by parameter.
    """
    parameters = {name: value for name, value in options.items() if name not in CLUSTER}
    parameters["solver"] = parameters["solver"] or ("als" if parameters["protocol"] == "paper" else "lobpcg")
    model = make_model("coded", parameters)
    assert isinstance(model, CodedALS)
    model.plan(data.matrix, options["workers"])
    started = time.perf_counter()
    with (
        progress("starting workers") if not options["live"] else nullcontext(Progress(None)) as line,
        open_cluster(
            options["cluster_kind"],
            options["workers"],
            options["delays"],
            model.seed,
            options["scheduler"],
            options["round_timeout_s"],
        ) as cluster,
        looked_at(model, data.shape, cluster, options) as status,
    ):
        recorders = _recorders(cluster, options)
        line.say("giving out the data")

        def tell(entry: Iteration) -> None:
            line.iteration(entry)
            if status is not None:
                status.iteration(entry)

        model.fit(data.matrix, cluster, callback=tell)
        virtual_s = cluster.seconds() if cluster.virtual else None
    return {
        **facts_of_coded(model, data, options["workers"]),
        "fitted": model,
        "recorders": recorders,
        "cluster": options["cluster_kind"] if options["scheduler"] is None else "dask",
        "delays": options["delays"],
        "seconds": time.perf_counter() - started,
        "virtual_seconds": virtual_s,
        "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
    }


def fit_sparse(data: RatingData, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fit one of the other methods in this process.

    Parameters
    ----------
    data
        The ratings.
    method
        Which of the other methods.
    options
        Those of the command, by parameter.
    """
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    started = time.perf_counter()
    with progress(f"fitting {method}") as line:
        model.fit(data.matrix, callback=line.iteration)
    seconds = time.perf_counter() - started
    return {
        **facts_of(model, data),
        "fitted": model,
        "objective": model.history_[-1].objective,
        "seconds": seconds,
        "seconds_per_iteration": seconds / len(model.history_),
        # these methods run the iterations they are given, and nothing proves that more would change nothing
        "converged": None,
        "last_change": last_change([entry.objective for entry in model.history_]),
    }


def _recorders(cluster: Cluster, options: dict[str, Any]) -> list[tuple[Path, Recording]]:
    recorders: list[tuple[Path, Recording]] = []
    if options["record_trace"] is not None:
        recorders.append((options["record_trace"], TraceRecorder()))
    if options["trace"] is not None:
        recorders.append(
            (options["trace"], timeline_recorder(options["trace"], "virtual" if cluster.virtual else "wall"))
        )
    observers: list[Observer] = [recorder for _, recorder in recorders]
    cluster.observers.extend(observers)
    return recorders


def _refuse_foreign_options(context: click.Context, method: str) -> None:
    """An option that would be ignored is a mistake."""
    known = {*COMMON, "ratings", "out", "method", "dense", "columns", "as_json"}
    for name in context.params:
        if name not in known and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.removesuffix("_kind").removesuffix("_s").replace("_", "-")
            raise UsageError(f"{option} belongs to the coded method; got it with --method {method}. Remove it.")
