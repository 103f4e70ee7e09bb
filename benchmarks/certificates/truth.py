"""What is true of a fit, from the singular value decomposition of NumPy: its excess, what float64 can decide, what a solver can reach.

Nothing here shares code with the package.

**What float64 can decide.** Every solver sees R only through products with D = R^T R. Forming D in float64 rounds it,
and what that costs nobody who works with D can win back. So D is formed three times, from the rows of R in another
order each, and given to the dense eigensolver of NumPy: where the worst of the three subspaces is still within the
tolerance of the optimum, float64 can decide; where not, "cannot tell" is the right outcome. Nothing is assumed about
how large rounding is, and nothing of what the fit says enters.

**What the paper's update can reach.** Its subspaces are those of a power iteration, whose rate
lambda_(d+1) / lambda_d is a matter of the matrix: no update of (12) gets a flat spectrum done in 500 iterations.
The loss that is left of a random start after the default iterations is computed from the singular values.
"""

from __future__ import annotations

import numpy as np
from certificates.matrices import Array, Draw

EPS = float(np.finfo(np.float64).eps)
ORDERS = 3


def optimum(sizes: Array, rank: int, lam: float) -> float:
    """Eckart-Young, with the singular values above lam shrunk by it."""
    head = sizes[:rank]
    kept = np.where(head > lam, lam * (2 * head - lam), head**2)
    return float(np.sum(kept) + np.sum(sizes[rank:] ** 2))


def decidable(draw: Draw, tolerance: float) -> bool:
    """Whether a dense eigensolver on D in float64 finds factors within the tolerance, however D is summed."""
    turned = _turned(draw)
    right = np.linalg.svd(turned, full_matrices=True)[2]
    rng = np.random.default_rng(draw.seed)
    worst = 0.0
    for _ in range(ORDERS):
        rows = turned[rng.permutation(turned.shape[0])]
        basis = np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
        worst = max(worst, _lost_by(draw, right, basis))
    return worst <= tolerance * optimum(draw.sizes, draw.rank, draw.lam)


def reachable(draw: Draw, tolerance: float, iterations: int) -> bool:
    """Whether the power iteration leaves a tenth of the tolerance of a random start after so many iterations."""
    if draw.options["solver"] != "als":
        return True
    inside, outside = draw.sizes[: draw.rank] ** 2, draw.sizes[draw.rank :] ** 2
    if outside.size == 0:
        return True
    with np.errstate(divide="ignore"):
        ratio = np.exp(2 * iterations * (np.log(outside[None, :]) - np.log(inside[:, None])))
    # the squared tangent of the angle that a random start has to a direction
    ratio *= draw.sizes.size * draw.rank
    # how much of a change of lambda_i reaches the objective
    weights = np.maximum(1 - draw.lam / np.maximum(draw.sizes[: draw.rank], np.finfo(float).tiny), 0.0)
    gaps = weights[:, None] * (inside[:, None] - outside[None, :])
    left = float(np.sum(gaps * np.minimum(ratio, 1.0)))
    return left <= 0.1 * tolerance * optimum(draw.sizes, draw.rank, draw.lam)


def excess(draw: Draw, users: Array, items: Array) -> float:
    """How far factors over the root of ``draw.unit`` are above the optimum, relative to it, as far as it can be told.

    Without regularisation from the angles between the subspaces, which loses no digits however small the optimum is:
    sum lambda_i |s_i|^2 - sum lambda_j |c_j|^2, plus what the factors differ from the projection. With it, from the
    objective in extended precision, less what rounding of the singular values may make of it.
    """
    turned = _turned(draw)
    other, factor = (users, items) if draw.matrix.shape[0] >= draw.matrix.shape[1] else (items, users)
    # an exact fit is as exact as squares of rounding are
    best = max(optimum(draw.sizes, draw.rank, draw.lam), EPS**2 * float(np.sum(draw.sizes**2)))
    extended = turned.astype(np.longdouble)
    product = other.astype(np.longdouble) @ factor.astype(np.longdouble).T
    if draw.lam == 0:
        right = np.linalg.svd(turned, full_matrices=True)[2]
        basis = np.linalg.qr(factor, mode="complete")[0]
        inside = basis[:, : draw.rank].astype(np.longdouble)
        moved = float(np.sum(((extended @ inside) @ inside.T - product) ** 2))
        return (_lost_by(draw, right, basis) + moved) / best
    penalty = draw.lam * (np.sum(other.astype(np.longdouble) ** 2) + np.sum(factor.astype(np.longdouble) ** 2))
    value = float(np.sum((extended - product) ** 2) + penalty - np.longdouble(best)) / best
    known = 16 * EPS * draw.sizes[0] * (2 * float(np.sum(draw.sizes[draw.rank :])) + 2 * draw.lam * draw.rank) / best
    return max(value - known, min(value, 0.0))


def _turned(draw: Draw) -> Array:
    return draw.matrix if draw.matrix.shape[0] >= draw.matrix.shape[1] else draw.matrix.T


def _lost_by(draw: Draw, right: Array, basis: Array) -> float:
    """What the first columns of a basis lose against the leading right singular vectors; weighted with a ridge weight."""
    rank = draw.rank
    squares = np.concatenate([draw.sizes, np.zeros(right.shape[0] - draw.sizes.size)]) ** 2
    if draw.lam == 0:
        # the part of each leading vector that the subspace lacks, and of each other one that it has
        lacking = np.sum((right[:rank] @ basis[:, rank:]) ** 2, axis=1)
        having = np.sum((right[rank:] @ basis[:, :rank]) ** 2, axis=1)
        return float(np.sum(squares[:rank] * lacking) - np.sum(squares[rank:] * having))
    values = np.linalg.svd(np.sqrt(squares)[:, None] * (right @ basis[:, :rank]), compute_uv=False)
    kept = [np.maximum(part - draw.lam, 0.0) ** 2 for part in (draw.sizes[:rank], values)]
    return float(np.sum(kept[0] - kept[1]))
