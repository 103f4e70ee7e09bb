"""Recovery thresholds as closed forms (27), Theorem 1 and the corrected Remark 3."""

from __future__ import annotations

import math

from coded_als.codes.points import PointFamily
from coded_als.errors import UsageError


def product_evaluations(p: int, r: int, q: int) -> int:
    """Evaluations that decode A B, cut p x r and r x q: pqr + r - 1 (7).

    Parameters
    ----------
    p
        Parts of the rows of A.
    r
        Parts of the columns of A, which are those of the rows of B.
    q
        Parts of the columns of B.
    """
    return p * q * r + r - 1


def product_threshold(p: int, r: int, q: int, points: PointFamily = "circle") -> int:
    """Workers that decode A B: the evaluations, halved and rounded up on the circle.

    Parameters
    ----------
    p
        Parts of the rows of A.
    r
        Parts of the columns of A, which are those of the rows of B.
    q
        Parts of the columns of B.
    points
        Where the code is evaluated.
    """
    evaluations = product_evaluations(p, r, q)
    return -(-evaluations // 2) if points == "circle" else evaluations


def iteration_threshold(partitions: int, points: PointFamily = "circle") -> int:
    """Workers that an iteration waits for: h^2 + h - 1 (27), halved and rounded up on the circle.

    Parameters
    ----------
    partitions
        h: D is cut h x h.
    points
        Where the code is evaluated.
    """
    if partitions < 1:
        raise UsageError(f"partitions must be at least 1; got {partitions}. Use 1 or more.")
    return product_threshold(partitions, partitions, 1, points)


def largest_partitions(workers: int, points: PointFamily = "circle") -> int:
    """The largest h whose threshold ``workers`` live workers meet; 0 for no workers.

    At real points this is Remark 3 of the paper, corrected: floor(sqrt(W - s + 5/4) - 1/2).

    Parameters
    ----------
    workers
        Live workers.
    points
        Where the code is evaluated.
    """
    evaluations = 2 * workers if points == "circle" else workers
    # whole numbers throughout: sqrt(e + 5/4) - 1/2 = (sqrt(4 e + 5) - 1) / 2
    return max(0, (math.isqrt(4 * evaluations + 5) - 1) // 2)
