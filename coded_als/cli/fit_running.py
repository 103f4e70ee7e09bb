"""The run of ``fit``: its options as one record, a fit by the chosen method, the saved model and the summary."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import click

from coded_als.als import CodedALS, CodedIteration
from coded_als.cli.clusters import ClusterOptions, cluster_name, cluster_of, machine_of, require_cluster
from coded_als.cli.common import Progress, names_of, picked, print_json, progress, refuse_typed
from coded_als.cli.going_on import CheckpointOptions, GoingOn, GoingOnOptions, interruptible
from coded_als.cli.live import LiveOptions, live_view
from coded_als.cli.methods import given_settings, make_model
from coded_als.cli.reading import ReadingOptions, parts_document, read_document
from coded_als.cli.summaries import FitSummary, coded_summary, enough_of, print_summary, profile_of, sparse_summary
from coded_als.cluster import Cluster, Observer, TaskEvent
from coded_als.cluster.recording import TimelineRecorder, TraceRecorder
from coded_als.data import RatingData, holdout_users, load_ratings
from coded_als.data.text import EDGES_PREFIX
from coded_als.delays import parse_delays, require_workers, trace_files
from coded_als.errors import CodedALSError, UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import HEADER, require_replaceable
from coded_als.planner.solvers import default_solver

DRAWN = (".pdf", ".svg", ".png")


class Recording(Protocol):
    """An observer that saves its observations."""

    def __call__(self, event: TaskEvent) -> None:
        """Take note of an event."""

    def save(self, path: Path) -> None:
        """Write the recording."""


Recordings = list[tuple[Path, Recording]]


def timeline_recorder(path: Path, clock: str) -> Recording:
    """The recorder of a timeline: a figure for ``.pdf``, ``.svg`` and ``.png``, else for a trace viewer.

    Raises UsageError when a figure is asked for and matplotlib is not installed.
    """
    if path.suffix.lower() not in DRAWN:
        return TimelineRecorder()
    # matplotlib is loaded for a figure alone
    from coded_als.experiments.report.timeline import TimelineDrawing

    return TimelineDrawing(clock)


def save_recordings(recorders: Recordings) -> None:
    """Write every recording, even if others fail."""
    failures = []
    for path, recorder in recorders:
        try:
            recorder.save(path)
        except CodedALSError as error:
            failures.append(str(error))
    if failures:
        raise CodedALSError(" ".join(failures))


@dataclass(frozen=True)
class RecordingOptions:
    """Files that a fit is recorded into, if any."""

    record_delays: Path | None
    timeline: Path | None


def recorders_on(cluster: Cluster, options: RecordingOptions) -> Recordings:
    """The files and recorders that the options name; they record the cluster from now on."""
    recorders: Recordings = []
    if options.record_delays is not None:
        recorders.append((options.record_delays, TraceRecorder()))
    if options.timeline is not None:
        recorders.append(
            (options.timeline, timeline_recorder(options.timeline, "virtual" if cluster.virtual else "wall"))
        )
    observers: list[Observer] = [recorder for _, recorder in recorders]
    cluster.observers.extend(observers)
    return recorders


def require_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, str]) -> None:
    """Check the outputs before hours of work: saving must not fail, nor destroy an input."""
    named = {option: path for option, path in outputs.items() if path is not None}
    taken = {os.path.realpath(path): what for path, what in inputs.items()}
    for option, path in named.items():
        other = next((what for known, what in taken.items() if _same_file(path, known)), None)
        if other is not None:
            raise UsageError(f"{option} must be a file of its own; got {path}, which holds {other}. Choose another.")
        _require_writable(option, path)
        taken[os.path.realpath(path)] = f"the file of {option}"


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


# methods with half-steps that a policy may spread over the workers, and those that read part files
ON_CLUSTER = ("ridge", "implicit")
WITH_POLICY = (*ON_CLUSTER, "ease")
ON_PARTS = ("coded", *ON_CLUSTER)


@dataclass(frozen=True)
class ModelOptions:
    """Parameters of every method; None stands for the method's own default."""

    rank: int | None
    regularization: float | None
    iterations: int | None
    seed: int
    settings: tuple[str, ...]


@dataclass(frozen=True)
class CodedOptions:
    """Parameters of the coded method alone."""

    code: str
    partitions: int | None
    protocol: str
    solver: str | None  # None: the default of the protocol
    block: int | Literal["auto"]
    precomputation: str
    weighting: str
    center: str | None
    tolerance: float
    decoding_tolerance: float | None
    verify: str
    dtype: str
    memory_per_worker: float | None  # bytes


@dataclass(frozen=True)
class FitOptions:
    """All options of ``fit``."""

    ratings: str
    out: Path | None
    method: str
    dense: bool
    hold_out_users: float | None
    policy: str | None
    reading: ReadingOptions
    as_json: bool
    profile: bool
    model: ModelOptions
    coded: CodedOptions
    cluster: ClusterOptions
    recordings: RecordingOptions
    live: LiveOptions
    checkpoint: CheckpointOptions
    going_on: GoingOnOptions

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FitOptions:
        """The options by the names of the command's parameters."""
        groups = {
            "model": picked(ModelOptions, given),
            "coded": picked(CodedOptions, given),
            "cluster": picked(ClusterOptions, given),
            "recordings": picked(RecordingOptions, given),
            "live": picked(LiveOptions, given),
            "checkpoint": picked(CheckpointOptions, given),
            "going_on": picked(GoingOnOptions, given),
        }
        return picked(cls, {**given, **groups})

    def make_model(self) -> Any:
        """The unfitted model of the method."""
        parameters = asdict(self.model)
        parameters |= given_settings(parameters.pop("settings"))
        if self.method == "coded":
            parameters |= asdict(self.coded)
            parameters["solver"] = self.coded.solver or default_solver(self.coded.protocol)
        return make_model(self.method, parameters)


@dataclass(frozen=True)
class Fitted:
    """A fitted model, its summary, and the recordings of the fit."""

    model: Any
    summary: FitSummary
    recorders: Recordings = field(default_factory=list)


def fit_sparse(data: RatingData, options: FitOptions, checkpoint: Checkpoint | None, going_on: GoingOn) -> Fitted:
    """Fit one of the other methods in this process."""
    model = options.make_model()
    started = time.perf_counter()
    with progress(f"fitting {options.method}") as line:
        model.fit(data, callback=going_on.callbacks(line.iteration), checkpoint=checkpoint, start=going_on.start)
    return Fitted(model, sparse_summary(model, data, time.perf_counter() - started))


def fit_coded(data: RatingData, options: FitOptions, checkpoint: Checkpoint | None, going_on: GoingOn) -> Fitted:
    """Fit `CodedALS` on a cluster of its own."""
    model: CodedALS = options.make_model()
    with progress("choosing a code"):
        spread = model.plan(data.matrix, options.cluster.workers, options.cluster.delays, machine_of(options.cluster))
    started = time.perf_counter()
    with (
        progress("starting workers") if not options.live.live else nullcontext(Progress(None)) as line,
        cluster_of(options.cluster) as cluster,
        live_view(model, data.shape, cluster, options.live) as status,
    ):
        recorders = recorders_on(cluster, options.recordings)
        line.say("giving out the data")

        def report(entry: CodedIteration) -> None:
            line.iteration(entry)
            if status is not None:
                status.iteration(entry)

        model.fit(
            data,
            cluster,
            callback=going_on.callbacks(report),
            checkpoint=checkpoint,
            spread=spread,
            start=going_on.start,
        )
        virtual_s = cluster.seconds() if cluster.virtual else None
    summary = coded_summary(model, data, options.cluster.workers, time.perf_counter() - started)
    summary.update(_of_cluster(model, options, "wall" if virtual_s is None else "virtual"))
    summary["virtual_seconds"] = virtual_s
    return Fitted(model, summary, recorders)


def _of_cluster(model: Any, options: FitOptions, clock: str) -> FitSummary:
    """The part of a summary that tells of the cluster."""
    return {
        "workers": options.cluster.workers,
        "cluster": cluster_name(options.cluster),
        "delays": options.cluster.delays,
        "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
        "clock_of_seconds_per_iteration": clock,
    }


def fit_shards(data: RatingData, options: FitOptions, checkpoint: Checkpoint | None, going_on: GoingOn) -> Fitted:
    """Fit one of the ALS models with its half-steps on the workers of a cluster, under a straggler policy."""
    from coded_als.baselines import fit_on_cluster
    from coded_als.baselines.distributed import parse_policy

    assert options.policy is not None
    policy = parse_policy(options.policy)
    model = options.make_model()
    if options.method == "ridge":
        model.biases = False  # the workers' half-steps know none
    policy.shards(options.cluster.workers)
    started = time.perf_counter()
    with progress("starting workers") as line, cluster_of(options.cluster) as cluster:
        recorders = recorders_on(cluster, options.recordings)
        verify: Any = options.coded.verify
        fit_on_cluster(
            model, data, cluster, policy, verify=verify, callback=going_on.callbacks(line.iteration),
            checkpoint=checkpoint, start=going_on.start,
        )  # fmt: skip
        clock = "virtual" if cluster.virtual else "wall"
    summary = sparse_summary(model, data, time.perf_counter() - started)
    summary.update(_of_cluster(model, options, clock))
    summary["policy"] = options.policy
    return Fitted(model, summary, recorders)


@dataclass(frozen=True)
class Found:
    """A dataset as the summary of a fit names it."""

    source: str
    shape: tuple[int, int]


def are_parts(source: str) -> bool:
    """Whether a source of ratings is a pattern or a folder of part files."""
    return os.path.isdir(source) or (glob.has_magic(source) and not os.path.exists(source))


def fit_parts(context: click.Context, options: FitOptions, checkpoint: Checkpoint | None) -> Fitted:
    """Fit part files, and save the model while the workers still know the ratings of each user.

    Raises UsageError for a source that is no dataset, options that need the ratings here, and an absent scheduler.
    """
    source, out, reading = options.ratings, options.out, options.reading
    _require_parts(context, options)
    if out is not None and out.suffix != ".npz":
        require_replaceable(out, HEADER)
    # each needs libraries of its own
    from coded_als.baselines.distributed import parse_policy
    from coded_als.dask.cluster import DaskCluster
    from coded_als.dask.dataset import Dataset
    from coded_als.dask.fitting import fit_dataset, write_model
    from coded_als.dask.part_files import find_pieces
    from coded_als.data.dialect import TextOptions

    text = TextOptions(reading["columns"], reading["header"], reading["delimiter"], reading["encoding"])
    find_pieces(source, text)  # before anything is started
    model, going_on = options.make_model(), options.going_on.read(options.reading)
    model.require_installed()
    policy = None if options.policy is None else parse_policy(options.policy)
    workers, started = options.cluster.workers, time.perf_counter()
    with progress("starting workers") as line, cluster_of(options.cluster) as cluster:
        assert isinstance(cluster, DaskCluster)
        recorders = recorders_on(cluster, options.recordings)
        line.say("numbering the ids")
        dataset = Dataset.find(cluster.client, source, text, reading["repeated"])
        line.say("giving out the data")
        told = going_on.callbacks(line.iteration)
        fit_dataset(model, dataset, cluster, policy, callback=told, checkpoint=checkpoint, start=going_on.start)
        seconds = time.perf_counter() - started
        if out is not None:
            line.say("saving")
            _save(model, out, lambda folder: write_model(model, dataset, cluster, folder))
    found = Found(source, dataset.shape)
    is_coded = options.method == "coded"
    summary = coded_summary(model, found, workers, seconds) if is_coded else sparse_summary(model, found, seconds)
    summary.update(_of_cluster(model, options, "wall"))
    summary.update(going_on.summary())
    summary["read"] = parts_document(dataset)
    if options.policy is not None:
        summary["policy"] = options.policy
    return Fitted(model, summary, recorders)


def _require_parts(context: click.Context, options: FitOptions) -> None:
    """Refuse options that do not suit part files."""
    if options.cluster.scheduler is None:
        raise UsageError(
            f"part files are read by the workers of a Dask cluster; got {options.ratings} without one. "
            "Add --scheduler local:2."
        )
    if options.method not in ON_PARTS:
        raise UsageError(f"part files are for the methods {', '.join(ON_PARTS)}; got --method {options.method}.")
    here = {"dense", "hold_out_users", "verify", "live", "serve", "cluster_kind"}
    refuse_typed(context, here, "needs the ratings in one process", "part files")


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


def run_fit(context: click.Context, given: Mapping[str, Any]) -> None:
    """Fit, save and print the summary, after every check that needs no ratings.

    Raises UsageError for options that contradict each other.
    """
    options = FitOptions.of(given)
    parts, out = are_parts(options.ratings), options.out
    if parts and options.policy is None and options.method in ON_CLUSTER:
        options = replace(options, policy="wait")
    _refuse_foreign_options(context, options)
    require_cluster(context, options.cluster)
    parse_delays(options.cluster.delays)
    require_workers(options.cluster.workers)
    in_folder = parts and out is not None and out.suffix != ".npz"
    options.going_on.require(options.checkpoint.resume)
    recorded = {"--record-delays": options.recordings.record_delays, "--timeline": options.recordings.timeline}
    inputs = dict.fromkeys(trace_files(options.cluster.delays), "the delays")
    inputs |= options.going_on.inputs()
    inputs[options.ratings.removeprefix(EDGES_PREFIX)] = "the ratings"
    require_outputs({"--out": None if in_folder else out, **recorded}, inputs)
    checkpoint = options.checkpoint.open()
    if parts:
        with interruptible(checkpoint):
            fitted = fit_parts(context, options, checkpoint)
    else:
        fitted = _fit_in_memory(options, checkpoint)
    if options.profile and isinstance(fitted.model, CodedALS):
        fitted.summary["profile"] = profile_of(fitted.model)
    _conclude(fitted, out, options.as_json)


def _fit_in_memory(options: FitOptions, checkpoint: Checkpoint | None) -> Fitted:
    """Read the ratings, fit and save the model."""
    data = load_ratings(options.ratings, dense=options.dense, **options.reading)
    read = read_document(data)
    if options.hold_out_users is not None:
        data, _ = holdout_users(data, options.hold_out_users, seed=options.model.seed)
    going_on = options.going_on.read(options.reading)
    fit = fit_coded if options.method == "coded" else fit_sparse if options.policy is None else fit_shards
    with interruptible(checkpoint):
        fitted = fit(data, options, checkpoint, going_on)
    fitted.summary.update(going_on.summary())
    if options.out is not None:
        fitted.model.save(options.out)
    if read is not None:
        fitted.summary["read"] = read
    return fitted


def _conclude(fitted: Fitted, out: Path | None, as_json: bool) -> None:
    """Print the summary of a fit after its model was saved, and save its recordings."""
    summary = fitted.summary
    summary["model"] = None if out is None else str(out)
    if as_json:
        # a search that takes seconds, so only for output that has its result
        enough = enough_of(fitted.model, summary["workers"]) if isinstance(fitted.model, CodedALS) else {}
        print_json({**summary, **enough})
    else:
        print_summary(summary)
    # last: a disk that is full by now costs a recording, not the model
    save_recordings(fitted.recorders)


def _refuse_foreign_options(context: click.Context, options: FitOptions) -> None:
    """An option that would be ignored is a mistake."""
    if options.method == "coded" and options.policy is None:
        return
    if options.policy is not None and options.method not in WITH_POLICY:
        raise UsageError(
            f"--policy is for the methods {', '.join(WITH_POLICY)}; got --method {options.method}. Remove it."
        )
    foreign = names_of(CodedOptions, LiveOptions)
    if options.policy is None:
        foreign |= names_of(ClusterOptions, RecordingOptions)
    else:
        foreign -= {"verify"}
    refuse_typed(context, foreign - {"seed"}, "belongs to the coded method", f"--method {options.method}")
