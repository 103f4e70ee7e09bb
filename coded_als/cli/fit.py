"""``coded-als fit``: factorise a rating matrix and save the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from coded_als.als import CodedALS, Solver
from coded_als.cli.common import CLUSTERS, open_cluster, print_json, progress
from coded_als.codes import iteration_threshold
from coded_als.data import RatingData, load_ratings
from coded_als.delays import parse_delays
from coded_als.errors import UsageError


@click.command()
@click.argument("ratings")
@click.option("--out", type=click.Path(path_type=Path), help="Save the model to this file.")
@click.option("--dense", is_flag=True, help="Read delimited text as a matrix, one row a line.")
@click.option("--rank", default=20, show_default=True, help="Columns of both factors.")
@click.option("--workers", default=16, show_default=True, help="Workers W.")
@click.option("--partitions", type=int, help="Parts h of rows and columns.  [default: leaves a quarter as stragglers]")
@click.option("--regularization", default=0.0, show_default=True, help="Ridge weight.")
@click.option("--points", type=click.Choice(["circle", "real", "equispaced"]), default="circle", show_default=True)
@click.option("--protocol", type=click.Choice(["fused", "paper"]), default="fused", show_default=True)
@click.option("--solver", type=click.Choice(["lobpcg", "als"]), help="[default: lobpcg; als with --protocol paper]")
@click.option("--placement", type=click.Choice(["coded", "replicated", "uncoded"]), default="coded", show_default=True)
@click.option("--copies", default=2, show_default=True, help="Copies of each block in the replicated placement.")
@click.option("--precomputation", type=click.Choice(["auto", "local", "coded"]), default="auto", show_default=True)
@click.option("--delays", default="none", show_default=True, help="Delay SPEC injected into the workers.")
@click.option("--cluster", "cluster_kind", type=click.Choice(CLUSTERS), default="local", show_default=True)
@click.option("--iterations", default=500, show_default=True, help="The most iterations to run.")
@click.option("--tolerance", default=5e-9, show_default=True, help="Relative distance from the limit to stop at.")
@click.option("--decoding-tolerance", type=float, help="[default: 1e-12 on the circle, 1e-8 at real points]")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(ratings: str, out: Path | None, dense: bool, as_json: bool, **options: Any) -> None:
    """Factorise RATINGS and save the model.

    RATINGS is delimited text `user item rating [time]`, a .npz (scipy sparse), .npy (dense) or .mtx file, or
    `synthetic:m=2400,n=1500,d=200,noise=0.1`. Missing ratings count as zeros.
    """
    parse_delays(options["delays"])
    _require_writable(out)
    data = load_ratings(ratings, dense=dense)
    summary = fit_coded(data, out, **options)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)


def fit_coded(
    data: RatingData,
    out: Path | None,
    *,
    workers: int,
    cluster_kind: str,
    delays: str,
    solver: Solver | None,
    **parameters: Any,
) -> dict[str, Any]:
    """Fit `CodedALS` on a cluster of its own; returns what ``--json`` prints."""
    model = CodedALS(solver=solver or ("als" if parameters["protocol"] == "paper" else "lobpcg"), **parameters)
    model.plan(data.shape, workers)
    started = time.perf_counter()
    with (
        progress("starting workers") as line,
        open_cluster(cluster_kind, workers, delays, model.seed) as cluster,
    ):
        line.say("computing the Gram matrix")
        model.fit(data.matrix, cluster, callback=line.iteration)
        virtual_s = cluster.seconds() if cluster.virtual else None
    model.set_ids(data.user_ids, data.item_ids)
    if out is not None:
        model.save(out)
    return {
        **_facts(model, data, workers),
        "cluster": cluster_kind,
        "delays": delays,
        "seconds": time.perf_counter() - started,
        "virtual_seconds": virtual_s,
        "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
        "model": None if out is None else str(out),
    }


def _facts(model: CodedALS, data: RatingData, workers: int) -> dict[str, Any]:
    coded = model.placement == "coded"
    return {
        "method": "coded",
        "ratings": data.source,
        "solver": model.solver,
        "points": model.points,
        "protocol": model.protocol,
        "placement": model.placement,
        "m": data.shape[0],
        "n": data.shape[1],
        "rank": model.rank,
        "regularization": model.regularization,
        "partitions": model.partitions_,
        "workers": workers,
        "recovery_threshold": iteration_threshold(model.partitions_, model.points) if coded else None,
        "seed": model.seed,
        "iterations": len(model.history_),
        "rounds": len(model.rounds_),
        "converged": model.converged_,
        "objective": model.objective_,
        "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
        "max_error_estimate": max(record.error_estimate for record in model.rounds_),
        "responses_per_round": [record.responses for record in model.rounds_],
    }


def _require_writable(out: Path | None) -> None:
    """Refuse before hours of work what `save` would refuse after them."""
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UsageError(f"--out must name a file in an existing folder; got {out}. Make the folder or choose another.")


def _print_summary(summary: dict[str, Any]) -> None:
    waited = max(summary["responses_per_round"])
    click.echo(
        f"{summary['m']} x {summary['n']} matrix, rank {summary['rank']}: objective {summary['objective']:.10g} "
        f"after {summary['iterations']} iterations ({summary['rounds']} rounds)"
    )
    click.echo(
        f"{summary['seconds']:.2f} s, {1e3 * summary['seconds_per_iteration']:.1f} ms of "
        f"{summary['clock_of_seconds_per_iteration']} time per iteration; at most {waited} of {summary['workers']} "
        f"workers waited for; decoding error at most {summary['max_error_estimate']:.0e} (estimated)"
    )
    if not summary["converged"]:
        click.echo("Not converged: raise --iterations or --tolerance, or use --solver lobpcg.", err=True)
    if summary["model"] is None:
        click.echo("The model was not saved; add --out MODEL.npz.", err=True)
    else:
        click.echo(f"saved {summary['model']}; next: coded-als recommend {summary['model']} --user ID -n 10")
