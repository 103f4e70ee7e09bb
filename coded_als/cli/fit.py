"""``coded-als fit``: factorise a rating matrix and save the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from coded_als.als import CodedALS
from coded_als.als.convergence import REMEDIES
from coded_als.als.phases import Where
from coded_als.cli.common import CLUSTERS, open_cluster, print_json, progress, takes_columns
from coded_als.cli.methods import make_model
from coded_als.cli.outputs import Recorder, require_outputs, save_recordings, timeline_recorder
from coded_als.cli.spec_help import CODE_SPECS, DELAY_SPECS
from coded_als.cluster import Cluster, Observer
from coded_als.cluster.recording import TraceRecorder
from coded_als.codes import parse_code
from coded_als.data import RatingData, load_ratings
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import UsageError
from coded_als.models.registry import MODEL_HOMES

# the options that every method takes; the others steer the coded method or its cluster
COMMON = ("rank", "regularization", "iterations", "seed")
CLUSTER = ("workers", "cluster_kind", "delays", "record_trace", "trace")


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
    "--cluster",
    "cluster_kind",
    type=click.Choice(CLUSTERS),
    default="local",
    show_default=True,
    help="Worker processes on this machine, this process alone, or a virtual clock.",
)
@click.option("--delays", default="none", show_default=True, help="Delays injected into the workers, a SPEC as below.")
@click.option("--record-trace", type=click.Path(path_type=Path), help="Write the delays as a CSV to replay.")
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Write a timeline: .pdf, .svg or .png, else for Perfetto (Chrome trace).",
)
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
        _print_summary(summary)
    # last: a disk that is full by now costs a recording, not the model
    save_recordings(recorders)


def fit_coded(data: RatingData, options: dict[str, Any]) -> dict[str, Any]:
    """Fit `CodedALS` on a cluster of its own.

    Returns the model under ``fitted``, what was recorded under ``recorders``, and what ``--json`` prints.
    """
    parameters = {name: value for name, value in options.items() if name not in CLUSTER}
    parameters["solver"] = parameters["solver"] or ("als" if parameters["protocol"] == "paper" else "lobpcg")
    model = make_model("coded", parameters)
    assert isinstance(model, CodedALS)
    model.plan(data.matrix, options["workers"])
    started = time.perf_counter()
    with (
        progress("starting workers") as line,
        open_cluster(options["cluster_kind"], options["workers"], options["delays"], model.seed) as cluster,
    ):
        recorders = _recorders(cluster, options)
        line.say("giving out the data")
        model.fit(data.matrix, cluster, callback=line.iteration)
        virtual_s = cluster.seconds() if cluster.virtual else None
    return {
        **_facts(model, data, options["workers"]),
        "fitted": model,
        "recorders": recorders,
        "cluster": options["cluster_kind"],
        "delays": options["delays"],
        "seconds": time.perf_counter() - started,
        "virtual_seconds": virtual_s,
        "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
    }


def fit_sparse(data: RatingData, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fit one of the other methods in this process."""
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    started = time.perf_counter()
    with progress(f"fitting {method}") as line:
        model.fit(data.matrix, callback=line.iteration)
    seconds = time.perf_counter() - started
    return {
        **_common_facts(model, data),
        "fitted": model,
        "objective": model.history_[-1].objective,
        "seconds": seconds,
        "seconds_per_iteration": seconds / len(model.history_),
        # these methods run the iterations they are given, and nothing proves that more would change nothing
        "converged": None,
        "last_change": _last_change([entry.objective for entry in model.history_]),
    }


def _last_change(objectives: list[float]) -> float | None:
    """What the last iteration changed of the objective, relative to it."""
    if len(objectives) < 2:
        return None
    before, after = objectives[-2:]
    return abs(before - after) / abs(after) if after else None


def _common_facts(model: Any, data: RatingData) -> dict[str, Any]:
    return {
        "method": model.kind,
        "ratings": data.source,
        "m": data.shape[0],
        "n": data.shape[1],
        "rank": model.rank,
        "regularization": model.regularization,
        "seed": model.seed,
        "iterations": len(model.history_),
    }


def _facts(model: CodedALS, data: RatingData, workers: int) -> dict[str, Any]:
    code = parse_code(model.code_)
    return {
        **_common_facts(model, data),
        "solver": model.solver,
        "code": model.code_,
        "precomputation": model.precomputation_,
        "protocol": model.protocol,
        "weighting": model.weighting,
        "workers": workers,
        "recovery_threshold": code.threshold(workers),
        "share_per_worker": code.share(workers),
        "rounds": len(model.rounds_),
        "converged": model.converged_,
        "outcome": model.outcome_,
        "remaining": model.history_[-1].remaining,
        "objective": model.objective_,
        "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
        "max_error_estimate": max(record.error_estimate for record in model.rounds_),
        "responses_per_round": [record.responses for record in model.rounds_],
    }


def _recorders(cluster: Cluster, options: dict[str, Any]) -> list[tuple[Path, Recorder]]:
    recorders: list[tuple[Path, Recorder]] = []
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
            option = "--" + name.removesuffix("_kind").replace("_", "-")
            raise UsageError(f"{option} belongs to the coded method; got it with --method {method}. Remove it.")


def _print_summary(summary: dict[str, Any]) -> None:
    objective = "" if summary["objective"] is None else f": objective {summary['objective']:.10g}"
    rounds = f" ({summary['rounds']} rounds)" if "rounds" in summary else ""
    click.echo(
        f"{summary['method']}, {summary['m']} x {summary['n']} matrix, rank {summary['rank']}{objective} "
        f"after {summary['iterations']} iterations{rounds}"
    )
    timing = f"{summary['seconds']:.2f} s, {1e3 * summary['seconds_per_iteration']:.1f} ms"
    if "workers" in summary:
        click.echo(
            f"{timing} of {summary['clock_of_seconds_per_iteration']} time per iteration; "
            f"at most {max(summary['responses_per_round'])} of {summary['workers']} workers waited for; "
            f"decoding error at most {summary['max_error_estimate']:.0e} (estimated)"
        )
    else:
        click.echo(f"{timing} per iteration")
    if summary.get("last_change") is not None:
        click.echo(f"the last iteration changed the objective by {summary['last_change']:.1e} of it")
    if remedy := REMEDIES.get(summary.get("outcome", "converged")):
        click.echo(remedy, err=True)
    if summary["model"] is None:
        click.echo("The model was not saved; add --out MODEL.npz.", err=True)
    else:
        click.echo(f"saved {summary['model']}; next: coded-als recommend {summary['model']} --user ID -n 10")
