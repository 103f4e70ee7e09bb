"""Speed of reading ratings from text beside ``np.loadtxt``, which gives numbers alone, in turns.

python benchmarks/reading.py [turns]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from coded_als.data import load_ratings

RATINGS, USERS, ITEMS = 1_000_000, 20_000, 10_000


def main(turns: int) -> None:
    """Write a million ratings, read them, and print seconds and their ratios.

    Parameters
    ----------
    turns
        How often each reads.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.tsv"
        print(f"{write(path)} ratings, {path.stat().st_size / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
        ratios = []
        for _ in range(turns):
            ours, theirs = (
                seconds(lambda: load_ratings(path)),
                seconds(lambda: np.loadtxt(path, delimiter="\t")),
            )
            ratios.append(ours / theirs)
            print(f"load_ratings {ours:.2f} s, np.loadtxt {theirs:.2f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {np.median(ratios):.2f}; bar <= 1.00")


def write(path: Path) -> int:
    """Distinct pairs with half-star ratings and times; how many there are."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(np.unique(rng.integers(USERS * ITEMS, size=RATINGS)))
    stars, times = rng.integers(1, 11, pairs.size) / 2, rng.integers(8e8, 9e8, pairs.size)
    columns = (pairs // ITEMS + 1).tolist(), (pairs % ITEMS + 1).tolist(), stars.tolist(), times.tolist()
    with path.open("w") as file:
        file.writelines(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in zip(*columns, strict=True))
    return int(pairs.size)


def seconds(call: Callable[[], Any]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
