"""``coded-als fit``: factorize a rating matrix and save the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coded_als.cli.clusters import takes_cluster
from coded_als.cli.common import SIZE, BlockWidth, choice, takes_logging
from coded_als.cli.going_on import checkpoint_options, going_on_options
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.live import live_options
from coded_als.cli.reading import reads_ratings
from coded_als.models.registry import model_kinds
from coded_als.planner.solvers import SOLVERS, default_solver


@click.command(
    "fit", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als fit ratings.tsv --rank 20 --out model.npz",
        "coded-als fit ratings.tsv --method implicit --out model.npz",
        "coded-als fit ratings.tsv --workers 30 --code systematic:p=20 --live",
    ),
)  # fmt: skip
@click.argument("ratings")
@click.option("--out", type=click.Path(path_type=Path), help="Save the model to this file.")
@choice("--method", model_kinds(), "coded", help="Model and solver; see `coded-als compare`.", metavar="NAME")
@click.option("--dense", is_flag=True, help="Read text as a matrix, one row on each line.")
@click.option("--rank", type=int, help="Number of factors.  [default: the method's own; coded: 20]")
@click.option("--regularization", type=float, help="Ridge penalty.  [default: the method's own; coded: 0]")
@click.option("--iterations", type=int, help="Most iterations.  [default: the method's own; coded: 500]")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE",
    help="Another parameter of the method, such as unobserved_weight=0.05.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of start and delays.")
@click.option("--hold-out-users", type=float, help="Share of the users to leave for `evaluate --protocol strong`.")
@click.option(
    "--code", metavar="SPEC", default="auto", show_default=True,
    help="How the workers share the matrix; auto: any half of them suffice.",
)  # fmt: skip
@click.option("--memory-per-worker", type=SIZE, help="Most memory of a worker, like 2GB.")
@click.option("--partitions", type=int, metavar="H", help="Use the paper's code, with D cut H x H.")
@choice("--protocol", ["fused", "paper"], "fused", help="Rounds in an iteration of als: one, or the paper's three.")
@choice(
    "--solver", list(SOLVERS), metavar="NAME",
    help="; ".join(f"{solver.name}: {solver.summary}" for solver in SOLVERS.values())
    + f".  [default: {default_solver()}; {default_solver('paper')} with --protocol paper]",
)  # fmt: skip
@click.option(
    "--block", default="auto", show_default=True, type=BlockWidth(), metavar="N|auto",
    help="Columns of the block of krylov: wide for few rounds, narrow for little work.",
)  # fmt: skip
@choice(
    "--precomputation", ["auto", "local", "coded", "none"], "auto", metavar="PLACE",
    help="Where R^T R is formed: local, coded (by the workers), or none (workers hold copies of the sparse rows of R).",
)  # fmt: skip
@choice(
    "--weighting", ["none", "binary", "centred", "log"], "none", metavar="NAME",
    help="Ratings as they are; binary: a 1 for each; centred: minus their mean; log.",
)  # fmt: skip
@choice(
    "--center", ["columns", "rows", "both"],
    help="Subtract the means first; sparse ratings are not filled in.",
)  # fmt: skip
@click.option("--tolerance", default=5e-9, show_default=True, help="Relative distance from the optimum to stop at.")
@click.option(
    "--decoding-tolerance", type=float, help="Largest relative error of a decoded product.  [default: that of the code]"
)
@click.option("--profile", is_flag=True, help="Print the seconds of products, waiting, encoding, decoding and algebra.")
@choice("--verify", ["off", "freivalds"], "off", help="Check each response of a worker.")
@choice("--dtype", ["float64", "float32"], "float64", help="Type of the shares on the workers and of responses.")
@click.option(
    "--policy", metavar="TEXT",
    help="Ridge and implicit on workers: wait, first-copy:copies=2, or partial:wait_for=12,max_skips=3.",
)  # fmt: skip
@takes_cluster
@click.option("--record-delays", type=click.Path(path_type=Path), help="Write the delays as a CSV for `trace:FILE`.")
@click.option(
    "--timeline", type=click.Path(path_type=Path), help="Draw all tasks: .pdf, .svg, .png, or JSON (Perfetto).",
)  # fmt: skip
@checkpoint_options
@going_on_options
@takes_logging
@live_options
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Factorize a rating matrix and save the model.

    RATINGS is text with lines `user item [rating [time]]`, or a .parquet, .npz, .npy or .mtx file; see the page Read ratings.
    The coded method reads a missing rating as zero.
    """
    # the modules that compute are loaded now, so that --help and mistakes of typing are quick
    from coded_als.cli.fit_running import run_fit

    run_fit(context, given)
