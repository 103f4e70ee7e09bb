"""Trials of a plan: its first rows run on a cluster, prediction beside truth, and plans for other circumstances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from coded_als.als import CodedALS
from coded_als.arrays import Array
from coded_als.cluster import Cluster
from coded_als.delays.models import Trace
from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.table1.paper_table import paper_ratings
from coded_als.planner.choice import Candidate, Plan, make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.timing import Workload


@dataclass(frozen=True)
class TriedRow:
    """Runs of one row of a plan."""

    candidate: Candidate
    seconds: tuple[float, ...]  # of each fit, forming and giving out the shares included
    refusal: str = ""  # the reason of a fit that could not run

    @property
    def row(self) -> dict[str, Any]:
        """Prediction and truth as columns."""
        predicted, taken = self.candidate.estimate.value, median(self.seconds) if self.seconds else None
        return {
            "label": self.candidate.scheme.label,
            "predicted_seconds": predicted,
            "seconds": taken,
            "ratio": None if taken is None else taken / predicted,
            "runs": len(self.seconds),
            "refusal": self.refusal or None,
        }


def try_rows(
    candidates: Sequence[Candidate], workload: Workload, cluster: Cluster, runs: int, seed: int
) -> list[TriedRow]:
    """Fit a synthetic matrix of the size by each candidate, in turns, with as many iterations as the plan counts on."""
    matrix = _matrix(workload.size, seed)
    seconds: list[list[float]] = [[] for _ in candidates]
    refusals = [""] * len(candidates)
    for _ in range(runs):
        for place, candidate in enumerate(candidates):
            try:
                if not refusals[place]:
                    seconds[place].append(_fit_seconds(candidate, workload, matrix, cluster, seed))
            except CodedALSError as error:
                refusals[place] = str(error)
    return [TriedRow(one, tuple(seconds[place]), refusals[place]) for place, one in enumerate(candidates)]


def _matrix(size: Size, seed: int) -> Any:
    if size.entries is None:
        return paper_ratings(size, seed)
    from scipy import sparse

    density = min(1.0, size.entries / (size.rows * size.columns))
    return sparse.random(size.rows, size.columns, density, format="csr", random_state=np.random.default_rng(seed))


def _fit_seconds(candidate: Candidate, workload: Workload, matrix: Any, cluster: Cluster, seed: int) -> float:
    scheme, sparse = candidate.scheme, workload.size.entries is not None
    protocol: Any = scheme.protocol
    model = CodedALS(
        workload.size.rank,
        code=scheme.code,
        protocol=protocol,
        solver=scheme.solver,
        block="auto" if scheme.block is None else scheme.block,
        precomputation="auto" if not sparse else "none" if scheme.rows else "local",
        decoding_tolerance=workload.tolerance,
        iterations=max(1, round(workload.iterations_of(scheme))),
        tolerance=0.0,
        seed=seed,
    )
    started = cluster.seconds() if cluster.virtual else time.perf_counter()
    model.fit(matrix, cluster)
    return (cluster.seconds() if cluster.virtual else time.perf_counter()) - started


@dataclass(frozen=True)
class Alternative:
    """A plan for other circumstances; without one, the reason."""

    name: str
    workers: int
    plan: Plan | None
    refusal: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The alternative as columns."""
        if self.plan is None:
            return {"what_if": self.name, "workers": self.workers, "refusal": self.refusal}
        chosen = self.plan.recommended
        return {
            "what_if": self.name,
            "workers": self.workers,
            "verdict": self.plan.verdict,
            "label": chosen.scheme.label,
            "virtual_seconds_mean": chosen.estimate.value,
            "worker_storage_bytes": chosen.worker_bytes,
        }


def alternatives(plan: Plan, workers: int, workload: Workload, **limits: Any) -> list[Alternative]:
    """Plans with a quarter more workers, without the slowest worker, and with half the memory of the recommended one.

    Parameters
    ----------
    plan, workers, workload
        The plan as it is.
    limits
        Other arguments of `coded_als.planner.choice.make_plan`.
    """
    more = workers + max(1, workers // 4)
    found = [_alternative(f"{more - workers} more workers", more, workload, limits)]
    slowest = _slowest(plan, workers, workload)
    if slowest is not None and workers > 1:
        without = _without(slowest, workers, workload)
        found.append(_alternative(f"without worker {slowest}", workers - 1, without, limits))
    half = {**limits, "memory_bytes": plan.recommended.worker_bytes / 2}
    return [*found, _alternative("half the memory", workers, workload, half)]


def _alternative(name: str, workers: int, workload: Workload, limits: dict[str, Any]) -> Alternative:
    try:
        return Alternative(name, workers, make_plan(workers, workload, **limits))
    except UsageError as error:
        return Alternative(name, workers, None, str(error))


def _speeds(workers: int, workload: Workload) -> Array:
    """The factor of each worker's speed."""
    return np.resize(workload.machine.worker_speeds or (1.0,), workers)


def _slowest(plan: Plan, workers: int, workload: Workload) -> int | None:
    """The worker that took the longest in a recording, or has the least speed; None where all are alike."""
    model, work_s = workload.recorded, workload.machine.computing_s(plan.recommended.worker_operations)
    taken = work_s / _speeds(workers, workload)
    if isinstance(model, Trace):
        slowness = np.ones_like(model.seconds) if model.slowness is None else model.slowness
        taken = np.median(np.resize(model.seconds.T, (workers, len(model.seconds))).T, axis=0) + taken * np.median(
            np.resize(slowness.T, (workers, len(slowness))).T, axis=0
        )
    return None if np.all(taken == taken[0]) else int(np.argmax(taken))


def _without(worker: int, workers: int, workload: Workload) -> Workload:
    """The same workload where one worker is not there."""
    model, machine = workload.recorded, workload.machine
    if machine.worker_speeds:
        machine = replace(machine, worker_speeds=tuple(np.delete(_speeds(workers, workload), worker).tolist()))
    if not isinstance(model, Trace):
        return replace(workload, machine=machine)
    kept = np.delete(np.resize(np.arange(model.seconds.shape[1]), workers), worker)
    slowness = None if model.slowness is None else model.slowness[:, kept]
    return replace(workload, machine=machine, delays=Trace(model.seconds[:, kept], model.unseen, slowness))
