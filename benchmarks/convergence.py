"""Convergence claims of `CodedALS` on random matrices, against the optimum by `numpy.linalg.svd`.

    python benchmarks/convergence.py --count 5000 --processes 2
    python benchmarks/convergence.py --keep trials.jsonl      # can be broken off: the next run goes on from the file
    python benchmarks/convergence.py --keep trials.jsonl --count 0      # the report on all that is in the file

A claim is false where the factors are more than ten tolerances above the optimum. Of the fits that float64 can decide
and the solver can reach (`certificates.truth` says what these words mean), 98 % must say converged within the default
iterations. Fits that decode at real points, to 1e-8 only, are held to the first promise and not counted for the second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from certificates.matrices import COARSE, KINDS, REPEATED, WORKERS, drawn
from certificates.truth import decidable, excess, reachable

from coded_als import CodedALS, InlineCluster
from coded_als.data import load_ratings
from coded_als.errors import UsageError
from coded_als.worker.blas_threads import ONE_BLAS_THREAD

FALSE, WANTED = 10.0, 0.98  # tolerances above the optimum; part of the fair fits
OUTCOMES = ("converged", "undecided", "refused", "unfinished")


@dataclass(frozen=True)
class Trial:
    """What one fit said, and what is true."""

    kind: str
    seed: int
    solver: str
    outcome: str
    excess: float
    tolerance: float
    decidable: bool
    reachable: bool
    coarse: bool
    iterations: int
    detail: str

    @property
    def false(self) -> bool:
        return self.outcome == "converged" and not self.excess <= FALSE * self.tolerance

    @property
    def fair(self) -> bool:
        return self.decidable and self.reachable and not self.coarse


def run_trial(seed: int, solver: str | None = None, repeated: bool = False, dtype: str = "float64") -> Trial:
    """Draw, fit, and measure."""
    draw = drawn(seed, REPEATED if repeated else KINDS, solver)
    options: dict[str, Any] = dict(draw.options)
    if options.get("protocol") != "paper":
        options["dtype"] = dtype
    model = CodedALS(draw.rank, regularization=draw.lam * draw.unit, seed=seed, **options)
    outcome, measured = "refused", np.nan
    try:
        model.fit(draw.handed, InlineCluster(WORKERS, "exp:mean=1ms", seed))
    except UsageError as refusal:
        if not any(reason in str(refusal) for reason in ("rank must be", "all be zero")):
            raise
    else:
        outcome = model.outcome_
        root = np.sqrt(draw.unit)
        measured = excess(draw, model.user_factors_ / root, model.item_factors_ / root)
    return Trial(
        kind=draw.kind,
        seed=seed,
        solver=" ".join(draw.options[name] for name in ("solver", "protocol") if name in draw.options),
        outcome=outcome,
        excess=measured,
        tolerance=model.tolerance,
        decidable=decidable(draw, model.tolerance),
        reachable=reachable(draw, model.tolerance, model.iterations),
        # float32 cannot decide all that float64 can
        coarse=draw.options.get("code") == COARSE or dtype == "float32",
        iterations=0 if outcome == "refused" else len(model.history_),
        detail=draw.detail,
    )


def report(trials: list[Trial]) -> bool:
    """Print what was found, the worst of each class first; True when every promise held."""
    groups: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.kind, trial.solver].append(trial)
    print(
        f"{'matrices':14}{'solver':11}{'fits':>6}{'converged':>11}{'undecided':>11}{'refused':>9}{'unfinished':>12}"
        f"{'decidable':>11}{'reachable':>11}{'of them':>9}{'worst claimed excess':>22}"
    )
    for (kind, solver), group in sorted(groups.items()):
        told = Counter(trial.outcome for trial in group)
        fair = [trial for trial in group if trial.fair]
        worst = max((trial for trial in group if trial.outcome == "converged"), key=lambda t: t.excess, default=None)
        print(
            f"{kind:14}{solver:11}{len(group):6}{told['converged']:11}{told['undecided']:11}{told['refused']:9}"
            f"{told['unfinished']:12}{sum(t.decidable and not t.coarse for t in group):11}{len(fair):11}"
            f"{sum(t.outcome == 'converged' for t in fair):9}"
            + ("-" if worst is None else f"{worst.excess:22.1e}  seed {worst.seed} ({worst.detail})")
        )
    false, fair = [trial for trial in trials if trial.false], [trial for trial in trials if trial.fair]
    silent = [trial for trial in fair if trial.outcome != "converged"]
    for name, shown in (("FALSE", false), ("silent", silent)):
        for trial in shown:
            print(
                f"{name}: {trial.kind} seed {trial.seed} ({trial.detail}): {trial.outcome} after {trial.iterations}, "
                f"excess {trial.excess:.1e}"
            )
    for solver in sorted({trial.solver for trial in trials}):
        of_solver = [trial for trial in fair if trial.solver == solver]
        said = sum(trial.outcome == "converged" for trial in of_solver)
        print(f"{solver}: {said} of {len(of_solver)} fair fits say converged ({said / max(1, len(of_solver)):.2%})")
    share = 1 - len(silent) / max(1, len(fair))
    print(f"{len(trials)} fits, {len(false)} false claims; {share:.2%} of {len(fair)} fair fits say converged")
    return not false and share >= WANTED


def rounds_on(path: Path, ratings: str) -> None:
    """Print the rounds that real ratings take at rank 10."""
    if not path.exists():
        print(f"{ratings}: not here")
        return
    table = np.genfromtxt(path, delimiter=",") if path.suffix == ".csv" else load_ratings(path).matrix
    for solver in ("krylov", "lobpcg", "als"):
        found = [
            len(CodedALS(10, solver=solver, seed=seed).fit(table, InlineCluster(WORKERS)).history_) for seed in range(3)
        ]
        print(f"{ratings}, rank 10, {solver}: {found} iterations (three starts)")


def kept_trials(path: Path | None) -> dict[int, Trial]:
    """The trials in a file, by their seed."""
    if path is None or not path.exists():
        return {}
    trials = (Trial(**json.loads(line)) for line in path.read_text().splitlines())
    return {trial.seed: trial for trial in trials}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000, help="matrices [5000]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first [0]")
    parser.add_argument("--solver", help="of all fits; any by default")
    parser.add_argument("--repeated", action="store_true", help="matrices of values of multiplicity 2 to 60")
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"), help="of the shares [float64]")
    parser.add_argument("--processes", type=int, default=2, help="[2]")
    parser.add_argument("--keep", type=Path, help="file of trials, to go on from and to add to")
    parser.add_argument("--ratings", type=Path, default=Path("../shared/data"), help="folder of ML-100K and Jester")
    options = parser.parse_args()
    started = time.perf_counter()
    # read when NumPy is imported, which a fresh process does
    os.environ.update(ONE_BLAS_THREAD)
    known = kept_trials(options.keep)
    seeds = [seed for seed in range(options.first, options.first + options.count) if seed not in known]
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        run = partial(run_trial, solver=options.solver, repeated=options.repeated, dtype=options.dtype)
        for trial in pool.map(run, seeds, chunksize=8):
            known[trial.seed] = trial
            if options.keep is not None:
                with options.keep.open("a") as kept:
                    kept.write(json.dumps(asdict(trial)) + "\n")
    trials = list(known.values())
    held = report(trials)
    rounds_on(options.ratings / "ml-100k/u.data", "ML-100K")
    rounds_on(options.ratings / "jester/jester-dataset-v1-dense-first-1000.csv", "Jester")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
