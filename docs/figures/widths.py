"""Draw the rounds of a fit against the width of its block: ``python docs/figures/widths.py``; ratings as for benchmarks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from coded_als import CodedALS
from coded_als.data import load_ratings
from coded_als.planner.solvers import GUARD_VECTORS

DATA = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MOVIES, JOKES = DATA / "ml-100k/u.data", DATA / "jester/jester-dataset-v1-dense-first-1000.csv"
PARTS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
# name, rank, colour, and how far its name is moved down
SERIES = (("MovieLens 100K", 20, "#00796b", 14), ("MovieLens 100K", 50, "#c62828", -4), ("Jester", 10, "#5c6bc0", 6))
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 340, 56, 200, 40, 48


def measured() -> dict[tuple[str, int], list[int]]:
    """Rounds to a proof of the default tolerance at each width."""
    tables: dict[str, Any] = {
        "MovieLens 100K": load_ratings(MOVIES).matrix,
        "Jester": np.genfromtxt(JOKES, delimiter=","),
    }
    found = {}
    for name, rank, _, _ in SERIES:
        widths = [max(2, round(part * (rank + GUARD_VECTORS))) for part in PARTS]
        fits = [CodedALS(rank, solver="krylov", block=width).fit(tables[name]) for width in widths]
        assert all(fit.converged_ for fit in fits)
        found[name, rank] = [len(fit.history_) for fit in fits]
    return found


def drawing(found: dict[tuple[str, int], list[int]]) -> str:
    """One line for each matrix, the width on a logarithmic axis, as SVG."""
    most = max(max(rounds) for rounds in found.values())
    span = np.log(PARTS[-1] / PARTS[0])
    across = [LEFT + (WIDTH - LEFT - RIGHT) * float(np.log(part / PARTS[0]) / span) for part in PARTS]

    def down(rounds: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - rounds / most)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="14">',
        "<title>Rounds of a fit against the width of its block</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" fill="#444444">rounds to the proof, by the columns of the block (of rank + 5)</text>',
    ]
    for rounds in range(0, most + 1, 5):
        y = down(rounds)
        parts += [
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e0e0e0"/>',
            f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end" fill="#444444">{rounds}</text>',
        ]
    for x, part in zip(across, PARTS, strict=True):
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="middle" fill="#444444">{part:g}</text>')
    for name, rank, colour, shift in SERIES:
        rounds_of = found[name, rank]
        points = [f"{x:.1f},{down(rounds):.1f}" for x, rounds in zip(across, rounds_of, strict=True)]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3.5" fill="{colour}"/>' for p in points]
        end = down(rounds_of[-1]) + shift
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{end:.1f}" fill="{colour}">{name}, rank {rank}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    found = measured()
    (Path(__file__).parent / "widths.svg").write_text(drawing(found))
    for (name, rank), rounds in found.items():
        print(f"{name}, rank {rank}: {dict(zip(PARTS, rounds, strict=True))}")


if __name__ == "__main__":
    main()
