"""``coded-als fit``: factorise a rating matrix and save the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from coded_als.als.phases import Where
from coded_als.cli.checkpoints import checkpoint_options, interruptible, take_checkpoint
from coded_als.cli.common import print_json, takes_columns
from coded_als.cli.fit_parts import are_parts, fit_parts
from coded_als.cli.fitting import CHECKPOINT, COMMON, ON_CLUSTER, SHARDS, Fitted, fit_sparse
from coded_als.cli.fitting_coded import fit_coded
from coded_als.cli.fitting_shards import fit_shards
from coded_als.cli.live import live_options
from coded_als.cli.outputs import require_outputs
from coded_als.cli.recordings import save_recordings
from coded_als.cli.spec_help import CODE_SPECS, DELAY_SPECS
from coded_als.cli.summary_text import print_summary
from coded_als.cluster.verification import VERIFY
from coded_als.data import holdout_users, load_ratings
from coded_als.data.edges import PREFIX as EDGES
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import UsageError
from coded_als.experiments.clusters import CLUSTERS
from coded_als.models.registry import MODEL_HOMES


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
@click.option("--hold-out-users", type=float, help="Share of the users to leave for evaluate --protocol strong.")
@click.option("--workers", default=16, show_default=True, help="Workers W.")
@click.option(
    "--code",
    default="auto",
    show_default=True,
    help="How the work is spread, a SPEC as below; auto: what `plan` would take for the delays.",
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
    "--policy", help="ridge and implicit on the workers: wait, first-copy:copies=2, or partial:wait_for=12,max_skips=3."
)
@click.option(
    "--cluster",
    "cluster_kind",
    type=click.Choice(CLUSTERS),
    default="local",
    show_default=True,
    help="Worker processes on this machine, this process alone, or a virtual clock.",
)
@click.option(
    "--repeated",
    type=click.Choice(["refuse", "last", "sum"]),
    help="Part files: what counts of a pair that is there twice.",
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
@checkpoint_options
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
    hold_out_users: float | None,
    columns: tuple[str, ...] | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Factorise RATINGS and save the model.

    RATINGS is delimited text `user item rating [time]` or `user item` (counted), a .parquet file, a .npz (scipy sparse),
    .npy (dense) or .mtx file, `edges:FILE` (a graph, lines `source target`), `synthetic:m=2400,n=1500,d=200,noise=0.1`
    or `synthetic-graph:nodes=100000`. With --scheduler also a pattern or folder of .parquet or .csv part files, which the
    workers of a Dask cluster read (`--out DIR/` writes the model as Parquet). For the coded method missing ratings count as zeros.
    """
    parts, repeated = are_parts(ratings), options.pop("repeated")
    policy = "wait" if parts and options["policy"] is None and method in ON_CLUSTER else options["policy"]
    _refuse_foreign_options(context, method, policy)
    if repeated is not None and not parts:
        raise UsageError("--repeated is for part files; got it for one source. Remove it.")
    if options["scheduler"] is not None and context.get_parameter_source("cluster_kind") is ParameterSource.COMMANDLINE:
        raise UsageError("--scheduler and --cluster must not be given together; got both. Remove one of them.")
    parse_delays(options["delays"])
    require_workers(options["workers"])
    inputs = {ratings.removeprefix(EDGES): "the ratings"} | dict.fromkeys(trace_files(options["delays"]), "the delays")
    in_folder = parts and out is not None and out.suffix != ".npz"
    require_outputs(
        {"--out": None if in_folder else out, "--record-trace": options["record_trace"], "--trace": options["trace"]},
        inputs,
    )
    if parts:
        _conclude(fit_parts(context, ratings, method, columns, out, {**options, "repeated": repeated}), out, as_json)
        return
    checkpoint = take_checkpoint(options)
    data = load_ratings(ratings, dense=dense, columns=columns)
    if hold_out_users is not None:
        data, _ = holdout_users(data, hold_out_users, seed=options["seed"])
    with interruptible(checkpoint):
        if method == "coded":
            fitted = fit_coded(data, options, checkpoint)
        elif options["policy"] is not None:
            fitted = fit_shards(data, method, options, checkpoint)
        else:
            fitted = fit_sparse(data, method, options, checkpoint)
    fitted.model.set_ids(data.user_ids, data.item_ids)
    if out is not None:
        fitted.model.save(out)
    _conclude(fitted, out, as_json)


def _conclude(fitted: Fitted, out: Path | None, as_json: bool) -> None:
    """Tell of a fit whose model is saved, and save what was recorded of it."""
    summary = fitted.summary
    summary["model"] = None if out is None else str(out)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    # last: a disk that is full by now costs a recording, not the model
    save_recordings(fitted.recorders)


def _refuse_foreign_options(context: click.Context, method: str, policy: str | None) -> None:
    """An option that would be ignored is a mistake."""
    if method == "coded" and policy is None:
        return
    if policy is not None and method not in ON_CLUSTER:
        raise UsageError(f"--policy is for the methods {' and '.join(ON_CLUSTER)}; got --method {method}. Remove it.")
    of_all = {
        *COMMON,
        *CHECKPOINT,
        "ratings",
        "out",
        "method",
        "dense",
        "columns",
        "hold_out_users",
        "as_json",
        "repeated",
    }
    known = of_all | set(SHARDS if policy is not None else ())
    for name in context.params:
        if name not in known and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.removesuffix("_kind").removesuffix("_s").replace("_", "-")
            raise UsageError(f"{option} belongs to the coded method; got it with --method {method}. Remove it.")
