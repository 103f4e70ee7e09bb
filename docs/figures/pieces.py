"""Draw the figure of shares in pieces from the layout of the package: ``python docs/figures/pieces.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coded_als.codes.pieces import PieceLayout

WORKERS, THRESHOLD, PIECES = 6, 3, 6
# Seconds for a piece: worker 4 computes at a third of the speed of the others.
PIECE_S = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0])
WIDTH, LEFT, SECOND, ROW, TOP = 720, 80, 44.0, 26, 50
USED, LOST, OPEN = "#00796b", "#c9ced3", "#ffffff"


def ends() -> tuple[float, float]:
    """When a round of whole shares ends, and one in pieces: each piece needs three answers."""
    whole_s = float(np.sort(PIECES * PIECE_S)[THRESHOLD - 1])
    done_s = (PieceLayout(WORKERS, PIECES).places + 1) * PIECE_S[:, np.newaxis]
    return whole_s, float(np.sort(done_s, axis=0)[THRESHOLD - 1].max())


def panel(top: int, title: str, end_s: float, whole: bool) -> list[str]:
    """The pieces of each worker along the time, coloured by their use in the round."""
    layout = PieceLayout(WORKERS, PIECES)
    used = set(np.argsort(PIECES * PIECE_S, kind="stable")[:THRESHOLD].tolist())
    parts = [f'<text x="{LEFT}" y="{top - 12}" font-weight="bold" fill="#222222">{title}</text>']
    for worker in range(WORKERS):
        y = top + ROW * worker
        parts.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end" fill="#222222">worker {worker}</text>')
        for place in range(PIECES):
            start_s, stop_s = place * PIECE_S[worker], (place + 1) * PIECE_S[worker]
            if start_s >= end_s:
                break
            done = stop_s <= end_s
            colour = OPEN if not done else USED if not whole or worker in used else LOST
            piece = place if whole else (layout.start(worker) + place) % PIECES
            x, width = LEFT + SECOND * start_s, SECOND * (min(stop_s, end_s) - start_s)
            parts += [
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW - 4}" fill="{colour}" stroke="#5f6b73"/>',
                f'<text x="{x + width / 2:.0f}" y="{y + 16}" text-anchor="middle" font-size="12" '
                f'fill="{"#ffffff" if colour == USED else "#444444"}">{piece}</text>',
            ]
    x = LEFT + SECOND * end_s
    bottom = top + ROW * WORKERS
    parts += [
        f'<line x1="{x:.0f}" y1="{top - 4}" x2="{x:.0f}" y2="{bottom}" stroke="#b23c17" stroke-width="2"/>',
        f'<text x="{x + 8:.0f}" y="{top + 16}" fill="#b23c17">ends after {end_s:g} of the {PIECES} pieces</text>',
    ]
    return parts


def drawing() -> str:
    """Both rounds, one above the other, as SVG."""
    whole_s, pieces_s = ends()
    second = TOP + ROW * WORKERS + 56
    height = second + ROW * WORKERS + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">',
            "<title>A round of whole shares, and the same round with shares in pieces</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *panel(TOP, "Whole shares: any 3 of 6 workers that have done everything", whole_s, True),
            *panel(second, "Shares in 6 pieces: any 3 answers to each piece", pieces_s, False),
            f'<text x="{LEFT}" y="{height - 14}" font-size="12" fill="#444444">Numbers are pieces. Green: counts. Grey: done, '
            "and lost. White: not done when the round ends.</text>",
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parent / "pieces.svg").write_text(drawing())
    print("whole shares end after {:g}, shares in pieces after {:g}".format(*ends()))
