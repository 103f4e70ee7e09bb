"""Fits of the command line: on a cluster of their own, with codes or policies, or in this process."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from coded_als.als import CodedALS, CodedIteration
from coded_als.cli.common import Progress, open_cluster, progress
from coded_als.cli.live import looked_at
from coded_als.cli.methods import make_model
from coded_als.cli.outputs import Recording, timeline_recorder
from coded_als.cluster import Cluster, Observer
from coded_als.cluster.recording import TraceRecorder
from coded_als.codes import parse_code
from coded_als.data import RatingData
from coded_als.models.checkpoint import Checkpoint

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


class Described(Protocol):
    """Ratings as far as a summary tells of them."""

    @property
    def source(self) -> str:
        """What was read, for people."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Users m and items n."""
        ...


def fit_coded(data: RatingData, options: dict[str, Any], checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Fit `CodedALS` on a cluster of its own.

    Returns the model under ``fitted``, what was recorded under ``recorders``, and what ``--json`` prints.

    Parameters
    ----------
    data
        The ratings.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    parameters = {name: value for name, value in options.items() if name not in CLUSTER}
    parameters["solver"] = parameters["solver"] or ("als" if parameters["protocol"] == "paper" else "lobpcg")
    model = make_model("coded", parameters)
    assert isinstance(model, CodedALS)
    model.plan(data.matrix, options["workers"])
    started = time.perf_counter()
    with (
        progress("starting workers") if not options["live"] else nullcontext(Progress(None)) as line,
        _cluster(options) as cluster,
        looked_at(model, data.shape, cluster, options) as status,
    ):
        recorders = recorders_of(cluster, options)
        line.say("giving out the data")

        def tell(entry: CodedIteration) -> None:
            line.iteration(entry)
            if status is not None:
                status.iteration(entry)

        model.fit(data.matrix, cluster, callback=tell, checkpoint=checkpoint)
        virtual_s = cluster.seconds() if cluster.virtual else None
    return {
        **facts_of_coded(model, data, options["workers"]),
        "fitted": model,
        "recorders": recorders,
        "cluster": _cluster_name(options),
        "delays": options["delays"],
        "seconds": time.perf_counter() - started,
        "virtual_seconds": virtual_s,
        "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
    }


def fit_shards(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Fit one of the ALS models with its half-steps on the workers of a cluster, under a straggler policy.

    Parameters
    ----------
    data
        The ratings.
    method
        One of `ON_CLUSTER`.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    from coded_als.baselines import fit_on_cluster
    from coded_als.baselines.policies import parse_policy

    policy = parse_policy(options["policy"])
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    if method == "ridge":
        model.biases = False  # the workers' half-steps know none
    workers = options["workers"]
    policy.shards(workers)
    started = time.perf_counter()
    with progress("starting workers") as line, _cluster(options) as cluster:
        recorders = recorders_of(cluster, options)
        told: dict[str, Any] = {"callback": line.iteration, "checkpoint": checkpoint}
        fit_on_cluster(model, data.matrix, cluster, policy, verify=options["verify"], **told)
        clock = "virtual" if cluster.virtual else "wall"
    return {
        **facts_of_sparse(model, data, time.perf_counter() - started),
        "recorders": recorders,
        "policy": options["policy"],
        "workers": workers,
        "cluster": _cluster_name(options),
        "delays": options["delays"],
        "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
        "clock_of_seconds_per_iteration": clock,
    }


def _cluster(options: dict[str, Any]) -> AbstractContextManager[Cluster]:
    return open_cluster(
        options["cluster_kind"],
        options["workers"],
        options["delays"],
        options["seed"],
        options["scheduler"],
        options["round_timeout_s"],
    )


def _cluster_name(options: dict[str, Any]) -> str:
    return options["cluster_kind"] if options["scheduler"] is None else "dask"


def fit_sparse(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Fit one of the other methods in this process.

    Parameters
    ----------
    data
        The ratings.
    method
        Which of the other methods.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    started = time.perf_counter()
    with progress(f"fitting {method}") as line:
        model.fit(data.matrix, callback=line.iteration, checkpoint=checkpoint)
    return facts_of_sparse(model, data, time.perf_counter() - started)


def facts_of_sparse(model: Any, data: Described, seconds: float) -> dict[str, Any]:
    """What is told of a fit of any but the coded method.

    Parameters
    ----------
    model
        Fitted.
    data
        To what.
    seconds
        In how long.
    """
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


def _common_facts(model: Any, data: Described) -> dict[str, Any]:
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


def facts_of_coded(model: CodedALS, data: Described, workers: int) -> dict[str, Any]:
    """What is told of a fit of the coded method.

    Parameters
    ----------
    model
        Fitted.
    data
        To what.
    workers
        W.
    """
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
        "left_out": model.left_out_,
        "max_error_estimate": max(record.error_estimate for record in model.rounds_),
        "responses_per_round": [record.responses for record in model.rounds_],
    }


def recorders_of(cluster: Cluster, options: dict[str, Any]) -> list[tuple[Path, Recording]]:
    """What the options ask to be recorded, with where it is to be saved.

    Parameters
    ----------
    cluster
        What is observed.
    options
        Those of the command, by parameter.
    """
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
