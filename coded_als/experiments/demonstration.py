"""The same factorization uncoded, in copies and coded, on real workers some of which are slow by a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coded_als.als import CodedALS
from coded_als.arrays import Array
from coded_als.codes import parse_code
from coded_als.master import LocalCluster

WORKERS = 30
DELAYS = "bimodal:p=0.15,fast=5ms,slow=1s"
ROWS, COLUMNS, RANK, DECAY = 900, 600, 10, 0.6


@dataclass(frozen=True)
class Contender:
    """One row of the table."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


# 30 workers in two copies hold 15 blocks: a fifteenth of D each, as in the systematic code with p = 15
UNCODED = Contender("uncoded", {"code": "uncoded"})
TWO_COPIES = Contender("two copies", {"code": "replicated:copies=2"})
SAME_MEMORY = Contender("coded, memory of two copies", {"code": "systematic:p=15"})
SCHEMES = (
    UNCODED,
    TWO_COPIES,
    Contender("three copies", {"code": "replicated:copies=3"}),
    SAME_MEMORY,
    Contender("the paper's code and update", {"partitions": 6, "solver": "als"}),
)


@dataclass(frozen=True)
class DemoResult:
    """Time and accuracy of one scheme."""

    scheme: str
    code: str  # a SPEC
    share: float  # fraction of D on one worker
    seconds: float  # wall seconds of the whole fit

    iterations: int
    rounds: int
    seconds_per_iteration: float  # wall seconds
    responses: tuple[int, int]  # the fewest and the most responses that an iteration's round used
    relative_error: float  # distance of the objective from the exact optimum, relative to it


def run_demo(seed: int = 0, tell: Callable[[str], None] = lambda text: None) -> list[DemoResult]:
    """Run every scheme with the same delays."""
    matrix = slowly_decaying_matrix(seed)
    optimum = float(np.sum(np.linalg.svd(matrix, compute_uv=False)[RANK:] ** 2))
    outcomes = []
    for scheme in SCHEMES:
        tell(scheme.name)
        outcomes.append(_run(scheme, matrix, optimum, seed))
    return outcomes


def slowly_decaying_matrix(seed: int) -> Array:
    """A matrix with singular values k^-0.6, as slow as those of real ratings, (900, 600)."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((ROWS, COLUMNS)))[0]
    right = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
    return np.asarray(1000 * (left * np.arange(1.0, COLUMNS + 1) ** -DECAY) @ right.T)


def comparison(outcomes: list[DemoResult]) -> str:
    """The gain of coding in a sentence."""
    by_name = {outcome.scheme: outcome for outcome in outcomes}
    uncoded, copies, coded = (by_name[scheme.name] for scheme in (UNCODED, TWO_COPIES, SAME_MEMORY))
    if coded.seconds >= min(uncoded.seconds, copies.seconds):
        return "Coding did not win here: this machine was busier with itself than with its stragglers."
    return (
        f"With the memory of two copies ({coded.share:.1%} of the matrix per worker) coding won a factor of "
        f"{copies.seconds / coded.seconds:.1f} over two copies, and {uncoded.seconds / coded.seconds:.0f} over waiting for "
        f"everybody with half the memory, at a relative error of {coded.relative_error:.0e}."
    )


def _run(scheme: Contender, matrix: Array, optimum: float, seed: int) -> DemoResult:
    started = time.perf_counter()
    with LocalCluster(WORKERS, delays=DELAYS, seed=seed) as cluster:
        model = CodedALS(RANK, seed=seed, **scheme.parameters).fit(matrix, cluster)
    responses = [count for entry in model.history_ for count in entry.responses]
    return DemoResult(
        scheme=scheme.name,
        code=model.code_,
        share=parse_code(model.code_).share(WORKERS),
        seconds=time.perf_counter() - started,
        iterations=len(model.history_),
        rounds=len(model.rounds_),
        seconds_per_iteration=sum(entry.seconds for entry in model.history_) / len(model.history_),
        responses=(min(responses), max(responses)),
        relative_error=(model.objective_ - optimum) / optimum,
    )
