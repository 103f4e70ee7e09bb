"""The command ``fit`` after its options: a fit by the method asked for, its model saved, and what is told of it."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from coded_als.als import CodedALS, CodedIteration
from coded_als.cli.checkpoints import interruptible, take_checkpoint
from coded_als.cli.clusters import cluster_name, cluster_of
from coded_als.cli.common import Progress, print_json, progress
from coded_als.cli.live import looked_at
from coded_als.cli.methods import make_model
from coded_als.cli.reading import READING, parts_document, read_document
from coded_als.cli.recordings import Recordings, recorders_on, save_recordings
from coded_als.cli.summaries import FitSummary, coded_summary, enough_of, print_summary, sparse_summary
from coded_als.data import RatingData, holdout_users, load_ratings
from coded_als.data.edges import PREFIX as EDGES
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import HEADER, require_replaceable
from coded_als.planner.solvers import default_solver


def require_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, str]) -> None:
    """Refuse before hours of work what saving would refuse, or destroy, after them.

    Raises UsageError when a file cannot be written, is an input, or is named twice.
    """
    named = {option: path for option, path in outputs.items() if path is not None}
    taken = {os.path.realpath(path): what for path, what in inputs.items()}
    for option, path in named.items():
        other = next((what for known, what in taken.items() if _same_file(path, known)), None)
        if other is not None:
            raise UsageError(f"{option} must be a file of its own; got {path}, which holds {other}. Choose another.")
        _require_writable(option, path)
        taken[os.path.realpath(path)] = f"what {option} writes"


def _same_file(path: Path, known: str) -> bool:
    """Whether both are one file, also by a symbolic or a hard link."""
    try:
        return os.path.realpath(path) == known or path.samefile(known)
    except (OSError, ValueError):
        return False


def _require_writable(option: str, path: Path) -> None:
    replaced = option == "--out"  # a model is written beside its place and renamed; recordings are written in place
    if path.is_dir() or not path.absolute().parent.is_dir() or (replaced and path.exists() and not path.is_file()):
        raise UsageError(
            f"{option} must be a file in an existing folder; got {path}. Make the folder or choose another."
        )
    try:
        if path.is_file():
            with path.open("r+b"):
                pass
        if replaced or not path.exists():
            with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
                pass
    except OSError as error:
        raise UsageError(f"{option} must be writable; got {path}: {error.strerror}. Choose another.") from None


# the options that every method takes; the others steer the coded method or its cluster
COMMON = ("rank", "regularization", "iterations", "seed")
CHECKPOINT = ("checkpoint", "checkpoint_every", "resume")
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
    "policy",
)
# methods whose half-steps a policy may spread over the workers, and the options that steer that
ON_CLUSTER = ("ridge", "implicit")
SHARDS = (
    "policy",
    "workers",
    "cluster_kind",
    "scheduler",
    "delays",
    "round_timeout_s",
    "verify",
    "record_trace",
    "trace",
)


@dataclass(frozen=True)
class Fitted:
    """A fitted model, what it came to, and what was recorded meanwhile."""

    model: Any
    summary: FitSummary
    recorders: Recordings = field(default_factory=list)


def fit_sparse(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit one of the other methods in this process."""
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    started = time.perf_counter()
    with progress(f"fitting {method}") as line:
        model.fit(data.matrix, callback=line.iteration, checkpoint=checkpoint)
    return Fitted(model, sparse_summary(model, data, time.perf_counter() - started))


def fit_coded(data: RatingData, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit `CodedALS` on a cluster of its own."""
    parameters = {name: value for name, value in options.items() if name not in CLUSTER}
    parameters["solver"] = parameters["solver"] or default_solver(parameters["protocol"])
    model = make_model("coded", parameters)
    assert isinstance(model, CodedALS)
    model.plan(data.matrix, options["workers"])
    started = time.perf_counter()
    with (
        progress("starting workers") if not options["live"] else nullcontext(Progress(None)) as line,
        cluster_of(options) as cluster,
        looked_at(model, data.shape, cluster, options) as status,
    ):
        recorders = recorders_on(cluster, options)
        line.say("giving out the data")

        def tell(entry: CodedIteration) -> None:
            line.iteration(entry)
            if status is not None:
                status.iteration(entry)

        model.fit(data.matrix, cluster, callback=tell, checkpoint=checkpoint)
        virtual_s = cluster.seconds() if cluster.virtual else None
    summary = coded_summary(model, data, options["workers"], time.perf_counter() - started)
    summary.update(
        {
            "cluster": cluster_name(options),
            "delays": options["delays"],
            "virtual_seconds": virtual_s,
            "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
        }
    )
    return Fitted(model, summary, recorders)


def fit_shards(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit one of the ALS models with its half-steps on the workers of a cluster, under a straggler policy."""
    from coded_als.baselines import fit_on_cluster
    from coded_als.baselines.distributed import parse_policy

    policy = parse_policy(options["policy"])
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    if method == "ridge":
        model.biases = False  # the workers' half-steps know none
    workers = options["workers"]
    policy.shards(workers)
    started = time.perf_counter()
    with progress("starting workers") as line, cluster_of(options) as cluster:
        recorders = recorders_on(cluster, options)
        told: dict[str, Any] = {"callback": line.iteration, "checkpoint": checkpoint}
        fit_on_cluster(model, data.matrix, cluster, policy, verify=options["verify"], **told)
        clock = "virtual" if cluster.virtual else "wall"
    summary = sparse_summary(model, data, time.perf_counter() - started)
    summary.update(
        {
            "policy": options["policy"],
            "workers": workers,
            "cluster": cluster_name(options),
            "delays": options["delays"],
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "clock_of_seconds_per_iteration": clock,
        }
    )
    return Fitted(model, summary, recorders)


METHODS = ("coded", "ridge", "implicit")
# Options that need the ratings in this process, or another cluster.
FOREIGN = (
    "dense",
    "hold_out_users",
    "verify",
    "live",
    "serve",
    "cluster_kind",
)


@dataclass(frozen=True)
class Found:
    """A dataset as the summary of a fit tells of it."""

    source: str
    shape: tuple[int, int]


def are_parts(source: str) -> bool:
    """Whether a source of ratings is a pattern or a folder of part files."""
    return os.path.isdir(source) or (glob.has_magic(source) and not os.path.exists(source))


def fit_parts(
    context: click.Context,
    source: str,
    method: str,
    reading: dict[str, Any],
    out: Path | None,
    options: dict[str, Any],
    checkpoint: Checkpoint | None,
) -> Fitted:
    """Fit part files, and save the model while the workers still know what each user has rated.

    Raises UsageError for what is no dataset, options that need the ratings here, and a scheduler that is not there.
    """
    _require(context, source, method, options)
    if out is not None and out.suffix != ".npz":
        require_replaceable(out, HEADER)
    # each needs libraries of its own
    from coded_als.baselines.distributed import parse_policy
    from coded_als.dask.cluster import DaskCluster
    from coded_als.dask.dataset import Dataset
    from coded_als.dask.fitting import fit_dataset, write_model
    from coded_als.dask.part_files import find_pieces
    from coded_als.data.dialect import TextOptions

    text = TextOptions(*(reading[name] for name in ("columns", "header", "delimiter", "encoding")))
    find_pieces(source, text)  # before anything is started
    model: Any = make_model(method, _parameters(method, options))
    model.require_installed()
    policy = None if method == "coded" else parse_policy(options["policy"] or "wait")
    workers, started = options["workers"], time.perf_counter()
    with progress("starting workers") as line, cluster_of(options) as cluster:
        assert isinstance(cluster, DaskCluster)
        recorders = recorders_on(cluster, options)
        line.say("numbering the ids")
        dataset = Dataset.find(cluster.client, source, text, reading["repeated"])
        line.say("giving out the data")
        fit_dataset(model, dataset, cluster, policy, callback=line.iteration, checkpoint=checkpoint)
        seconds = time.perf_counter() - started
        if out is not None:
            line.say("saving")
            _save(model, out, lambda folder: write_model(model, dataset, cluster, folder))
    found = Found(source, dataset.shape)
    summary = (
        coded_summary(model, found, workers, seconds) if method == "coded" else sparse_summary(model, found, seconds)
    )
    summary.update(
        {
            "workers": workers,
            "cluster": "dask",
            "delays": options["delays"],
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "clock_of_seconds_per_iteration": "wall",
        }
    )
    summary["read"] = parts_document(dataset)
    if policy is not None:
        summary["policy"] = options["policy"] or "wait"
    return Fitted(model, summary, recorders)


def _parameters(method: str, options: dict[str, Any]) -> dict[str, Any]:
    if method != "coded":
        return {name: options[name] for name in COMMON}
    from coded_als.als import CodedALS

    known = {name: options[name] for name in CodedALS().get_params() if name in options}
    known["solver"] = known["solver"] or default_solver(known["protocol"])
    return known


def _require(context: click.Context, source: str, method: str, options: dict[str, Any]) -> None:
    if options["scheduler"] is None:
        raise UsageError(
            f"part files are read by the workers of a Dask cluster; got {source} without one. Add --scheduler local:2."
        )
    if method not in METHODS:
        raise UsageError(
            f"part files are for the methods {', '.join(METHODS)}; got --method {method}. Choose from them."
        )
    for name in FOREIGN:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.removesuffix("_kind").replace("_", "-")
            raise UsageError(f"{option} needs the ratings in one process; got it with part files. Remove it.")


def _save(model: FactorModel, out: Path, write: Callable[[Path], None]) -> None:
    """Save as a folder, or by way of one as a file."""
    from coded_als.models.persistence import load_model

    if out.suffix != ".npz":
        write(out)
        return
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".coded-als-") as scratch:
        folder = Path(scratch) / "model"
        write(folder)
        load_model(folder).save(out)


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

    Raises UsageError for options that contradict each other.
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
