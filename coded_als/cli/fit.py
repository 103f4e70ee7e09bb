"""``coded-als fit``: factorize a rating matrix and save the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.checkpoints import checkpoint_options
from coded_als.cli.common import CODE_SPECS, DELAY_SPECS, BlockWidth, choice
from coded_als.cli.going_on import going_on_options
from coded_als.cli.live import live_options
from coded_als.cli.reading import reads_ratings
from coded_als.experiments.cluster_kinds import CLUSTERS
from coded_als.models.registry import model_kinds
from coded_als.planner.solvers import SOLVERS, default_solver


@click.command("fit", epilog=f"{DELAY_SPECS}\n{CODE_SPECS}")
@click.argument("ratings")
@click.option("--out", type=click.Path(path_type=Path), help="Save the model to this file.")
@choice("--method", model_kinds(), "coded", help="Model and solver; docs/which-method.md compares them.")
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
    help="Code that spreads the work, a SPEC as below; auto: the code that `plan` recommends for the delays.",
)
@click.option("--partitions", type=int, help="h of the paper's code: rows and columns of D in h parts each.")
@choice("--protocol", ["fused", "paper"], "fused", help="Rounds of an iteration of als: one, or the paper's three.")
@choice(
    "--solver", list(SOLVERS),
    help="; ".join(f"{solver.name}: {solver.summary}" for solver in SOLVERS.values())
    + f".  [default: {default_solver()}; {default_solver('paper')} with --protocol paper]",
)  # fmt: skip
@click.option(
    "--block", default="auto", show_default=True, type=BlockWidth(), metavar="auto|COLUMNS",
    help="Columns of the block of solver krylov: wide for few rounds, narrow for little work.",
)  # fmt: skip
@choice(
    "--precomputation", ["auto", "local", "coded", "none"], "auto",
    help="Where R^T R is formed; none: nowhere, workers hold the sparse rows of R in copies.",
)  # fmt: skip
@choice(
    "--weighting", ["none", "binary", "centred", "log"], "none",
    help="Factorize the ratings, a 1 for each, the ratings minus their mean, or their logarithms.",
)  # fmt: skip
@click.option("--tolerance", default=5e-9, show_default=True, help="Relative distance from the optimum to stop at.")
@click.option(
    "--decoding-tolerance",
    type=float,
    help="Relative error that a decoded product may have.  [default: that of the code]",
)
@click.option("--profile", is_flag=True, help="Print the seconds of rounds, encoding, decoding and algebra.")
@choice("--verify", ["off", "freivalds"], "off", help="Check each response of a worker.")
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
@going_on_options
@live_options
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Factorize RATINGS and save the model.

    RATINGS is delimited text `user item rating [time]` or `user item` (counted), in any order under names that are known
    (userId, movieId, asin, stars, ...), a .parquet file, a .npz (scipy sparse), .npy (dense) or .mtx file; text may be
    compressed (.gz, .bz2, .xz, .zst). Or it is `edges:FILE` (a graph, lines `source target`), `synthetic:m=2400,n=1500,d=200,noise=0.1`
    or `synthetic-graph:nodes=100000`. With --scheduler also a pattern or folder of part files, Parquet or text, which the
    workers of a Dask cluster read (`--out DIR/` writes the model as Parquet). For the coded method missing ratings count as zeros.
    """
    # the modules that compute are loaded now, so that --help and mistakes of typing are quick
    from coded_als.cli.fit_running import run_fit

    run_fit(context, given)
