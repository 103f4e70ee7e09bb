"""Masters killed (SIGKILL) at random moments of a checkpointed fit: does every resumption reach the same factors?

    python benchmarks/interrupted_masters.py --kills 50

Each kill is of a `coded-als fit --checkpoint` of its own: every fifth at a moment drawn uniformly from the time that the
whole command takes, the others from the time after its first checkpoint, when the next may be half written. Then no
file of the checkpoint may be unreadable, no worker may survive, and the same command with ``--resume`` must reach the factors of a fit that nobody disturbed to 1e-8 of the
largest of them. The coded fits have worker processes with random delays, so that no two have the same responses.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from processes import is_running, started_by

from coded_als import UsageError, load_model
from coded_als.models.checkpoint import read_snapshot
from coded_als.models.checkpoint_store import LATEST, NEXT, PREVIOUS, FolderStore

TOO_LATE = "killed after its end"
TOLERANCE, GONE_WITHIN_S, LIMIT_S = 1e-8, 5.0, 120.0
ON_WORKERS = ["--workers", "6", "--delays", "exp:mean=4ms", "--tolerance", "0"]
SYSTEMATIC, PAPER = ["--code", "systematic:p=4"], ["--protocol", "paper", "--partitions", "2"]
DENSE, SPARSE = "synthetic:m=300,n=200,d=150,noise=0.5", "synthetic:m=600,n=400,d=5,noise=0.5,density=0.1"
FITS = {
    "coded": [DENSE, "--rank", "5", "--iterations", "60", *SYSTEMATIC, *ON_WORKERS],
    "coded-krylov": [DENSE, "--rank", "5", "--iterations", "60", "--solver", "krylov", *SYSTEMATIC, *ON_WORKERS],
    "coded-als": [DENSE, "--rank", "5", "--iterations", "60", "--solver", "als", *SYSTEMATIC, *ON_WORKERS],
    "coded-paper": [DENSE, "--rank", "5", "--iterations", "30", *PAPER, *ON_WORKERS],
    "ridge": [SPARSE, "--method", "ridge", "--rank", "8", "--iterations", "50"],
    "warp": [SPARSE, "--method", "warp", "--rank", "8", "--iterations", "50"],
}


def start(fit: str, out: Path, *options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "coded_als", "fit", *FITS[fit], "--out", out, *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes], out: Path) -> tuple[np.ndarray, ...]:
    said = process.communicate(timeout=LIMIT_S)[1].decode()
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}: {said}")
    model = load_model(out)
    return model.user_factors_, model.item_factors_


def await_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> None:
    while not (folder / LATEST).exists() and process.poll() is None:
        time.sleep(0.002)


def trial(
    fit: str,
    rng: random.Random,
    starts_s: float,
    takes_s: float,
    whole: tuple[np.ndarray, ...],
    saved: Counter[str],
) -> str:
    """Kill one fit and resume it; what became of it."""
    with tempfile.TemporaryDirectory(prefix="interrupted-") as name:
        folder, out, every = Path(name) / "checkpoint", Path(name) / "model.npz", rng.choice((1, 1, 3))
        kept = ("--checkpoint", folder, "--checkpoint-every", every)
        process = start(fit, out, *kept)
        if rng.random() < 0.2:
            time.sleep(rng.uniform(0, takes_s))
        else:
            await_checkpoint(folder, process)
            time.sleep(rng.uniform(0, takes_s - starts_s))
        workers = started_by(process.pid)
        process.kill()
        process.communicate()
        if out.exists():
            return TOO_LATE
        there = [path for path in (folder / LATEST, folder / PREVIOUS) if path.exists()]
        try:
            found = [read_snapshot(FolderStore(folder), path.name)[0].iteration for path in there]
        except UsageError as error:
            return f"UNREADABLE: {error}"
        saved["with something saved" if found else "with nothing saved yet"] += 1
        saved["in the middle of a write"] += any(folder.glob(".*.tmp")) or (folder / NEXT).exists()
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(map(is_running, workers)) and time.monotonic() < deadline:
            time.sleep(0.01)
        if any(map(is_running, workers)):
            return "A WORKER SURVIVED"
        try:
            resumed = finished(start(fit, out, *kept, "--resume"), out)
        except RuntimeError as error:
            return f"NOT RESUMED: {error}"
    off = max(np.abs(one - other).max() / np.abs(other).max() for one, other in zip(resumed, whole, strict=True))
    saved["worst difference, 1e-16"] = max(saved["worst difference, 1e-16"], int(np.ceil(off * 1e16)))
    return "the same factors" if off <= TOLERANCE else f"OTHER FACTORS, off by {off:.0e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each fit (5)")
    parser.add_argument("--fits", default=",".join(FITS), help=f"which ({','.join(FITS)})")
    parser.add_argument("--seed", type=int, default=0, help="of the first kill (0)")
    options = parser.parse_args()
    passed = True
    for fit in options.fits.split(","):
        with tempfile.TemporaryDirectory(prefix="interrupted-") as name:
            # the first warms caches, the second is timed
            finished(start(fit, Path(name) / "model.npz"), Path(name) / "model.npz")
            began = time.perf_counter()
            kept: tuple[str, Path] = ("--checkpoint", Path(name) / "checkpoint")
            timed = start(fit, Path(name) / "model.npz", *kept)
            await_checkpoint(kept[1], timed)
            starts_s = time.perf_counter() - began
            whole = finished(timed, Path(name) / "model.npz")
            takes_s = time.perf_counter() - began
        tally: Counter[str] = Counter()
        saved: Counter[str] = Counter()
        for seed in range(options.seed, options.seed + options.kills):
            rng = random.Random(f"{fit} {seed}")
            # a fit that was quicker than the one that was timed is no trial
            while (said := trial(fit, rng, starts_s, takes_s, whole, saved)) == TOO_LATE:
                takes_s = starts_s + 0.8 * (takes_s - starts_s)
            tally[said] += 1
            if said != "the same factors":
                print(f"{fit}, kill {seed}: {said}", flush=True)
        print(
            f"{fit}: {options.kills} kills of a fit of {takes_s:.1f} s that saves from {starts_s:.1f} s on: {dict(saved)}: {dict(tally)}",
            flush=True,
        )
        passed &= set(tally) <= {"the same factors"}
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
