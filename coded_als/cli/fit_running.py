"""The command ``fit`` after its options: a fit by the method asked for, its model saved, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from coded_als.als import CodedALS
from coded_als.cli.checkpoints import interruptible, take_checkpoint
from coded_als.cli.common import print_json
from coded_als.cli.fit_parts import are_parts, fit_parts
from coded_als.cli.fitting import CHECKPOINT, COMMON, ON_CLUSTER, SHARDS, Fitted, fit_sparse
from coded_als.cli.fitting_coded import fit_coded
from coded_als.cli.fitting_shards import fit_shards
from coded_als.cli.outputs import require_outputs
from coded_als.cli.reading import READING, read_document
from coded_als.cli.recordings import save_recordings
from coded_als.cli.summaries import enough_of, print_summary
from coded_als.data import holdout_users, load_ratings
from coded_als.data.edges import PREFIX as EDGES
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import UsageError


def run_fit(
    context: click.Context,
    *,
    ratings: str,
    out: Path | None,
    method: str,
    dense: bool,
    hold_out_users: float | None,
    reading: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Fit, save and tell, after every check that needs no ratings.

    Parameters
    ----------
    context
        Of the command; it knows which options were typed.
    ratings
        Their source.
    out
        File of the model, if any.
    method
        Name of the model.
    dense
        Whether text is a matrix.
    hold_out_users
        Share of the users that the fit does not see, if any.
    reading
        How ratings are read, by parameter of `coded_als.data.load_ratings`.
    as_json
        Whether to print one JSON document and nothing else.
    options
        All other options of the command, by parameter.

    Raises
    ------
    UsageError
        For options that contradict each other.
    """
    parts = are_parts(ratings)
    policy = "wait" if parts and options["policy"] is None and method in ON_CLUSTER else options["policy"]
    _refuse_foreign_options(context, method, policy)
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
    checkpoint = take_checkpoint(options)
    if parts:
        with interruptible(checkpoint):
            fitted = fit_parts(context, ratings, method, reading, out, options, checkpoint)
        _conclude(fitted, out, as_json)
        return
    data = load_ratings(ratings, dense=dense, **reading)
    read = read_document(data)
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
    if read is not None:
        fitted.summary["read"] = read
    _conclude(fitted, out, as_json)


def _conclude(fitted: Fitted, out: Path | None, as_json: bool) -> None:
    """Tell of a fit whose model is saved, and save what was recorded of it."""
    summary = fitted.summary
    summary["model"] = None if out is None else str(out)
    if as_json:
        # a search, which nobody waits for who does not see it
        enough = enough_of(fitted.model, summary["workers"]) if isinstance(fitted.model, CodedALS) else {}
        print_json({**summary, **enough})
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
        "hold_out_users",
        "as_json",
        *READING,
    }
    known = of_all | set(SHARDS if policy is not None else ())
    for name in context.params:
        if name not in known and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.removesuffix("_kind").removesuffix("_s").replace("_", "-")
            raise UsageError(f"{option} belongs to the coded method; got it with --method {method}. Remove it.")
