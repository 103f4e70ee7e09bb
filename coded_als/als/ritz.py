"""Rayleigh-Ritz approximations on subspaces: eigenpairs of D, singular triplets of A, and the best factors of a subspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import scipy.linalg

from coded_als.als.problem import Problem
from coded_als.als.updates import floor_of, rank_error, symmetric
from coded_als.arrays import Array
from coded_als.models.checkpoint import arrays_like

# Below this ratio the Gram matrix has lost more than 1e-6 to rounding (eps times the squared condition number); the second
# pass of the caller restores it.
GRAM_FLOOR = 1e-10
# Columns of one length are nearly orthogonal where the eigenvalues of their Gram matrix have at least this ratio: Cholesky QR then
# reproduces them to rounding. At GRAM_FLOOR the inverse of the triangle would cost three digits.
NEARLY_ORTHOGONAL = 1e-3
# Of a matrix of images that is made orthonormal at once.
PANEL_ROWS = 1 << 15
# The loss of orthonormality over a whole fit, which is repaired late.
_ROUNDED = 1e-6


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenpairs of D, the values descending."""

    values: Array  # Ritz values theta, (k,)
    # orthonormal Ritz vectors x, (l, k), and norms of D x - theta x, (k,), or functions that compute them on demand
    given: Array | Callable[[], Array]
    norms: Array | Callable[[], Array]
    guards: int = 0  # number of the last pairs that are beyond the requested rank

    @cached_property
    def vectors(self) -> Array:
        """Orthonormal Ritz vectors x, (l, k)."""
        return self.given() if callable(self.given) else self.given

    @cached_property
    def residuals(self) -> Array:
        """Norms of D x - theta x, (k,)."""
        return self.norms() if callable(self.norms) else self.norms

    @classmethod
    def none(cls) -> RitzPairs:
        """No pair at all: before the first product."""
        return cls(np.empty(0), np.empty((0, 0)), np.empty(0))


@dataclass(frozen=True)
class RitzBasis:
    """Orthonormal Ritz vectors, their images under D, and the directions of the last step with theirs."""

    values: Array  # (b,)
    # X and D X, (l, b) each
    vectors: Array
    images: Array
    # P and D P, (l, k) each; None before the first step
    directions: Array | None = None
    direction_images: Array | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Array], length: int, columns: int) -> Self:
        """The basis that ``vars`` of one has given."""
        block: dict[str, tuple[int | str, ...]] = {"values": (columns,), "vectors": (length, columns)}
        block["images"] = (length, columns)
        if "directions" in arrays:
            block |= {"directions": (length, "k"), "direction_images": (length, "k")}
        basis = cls(**arrays_like(arrays, **block))
        require_orthonormal(np.hstack(basis.parts()[0]))
        projected = basis.vectors.T @ basis.images
        distance = np.abs(symmetric(projected) - np.diag(basis.values)).max()
        if distance > _ROUNDED * np.abs(basis.values).max():
            raise ValueError(f"its vectors are no Ritz vectors: {distance:.1e} off")
        return basis

    def parts(self) -> tuple[list[Array], list[Array]]:
        """The basis of the subspace so far, and its images, in parts of (l, b)."""
        if self.directions is None or self.direction_images is None:
            return [self.vectors], [self.images]
        return [self.vectors, self.directions], [self.images, self.direction_images]

    @property
    def residuals(self) -> Array:
        """D X - X diag(theta), (l, b)."""
        return self.images - self.vectors * self.values

    def pairs(self, rank: int) -> RitzPairs:
        """The Ritz pairs, of which the last b - rank are guards."""
        norms = np.linalg.norm(self.residuals, axis=0)
        return RitzPairs(self.values, self.vectors, norms, self.values.size - rank)


def require_orthonormal(columns: Array) -> None:
    """`ValueError` where columns, (l, b), are not orthonormal."""
    distance = np.abs(columns.T @ columns - np.eye(columns.shape[1])).max(initial=0.0)
    if distance > _ROUNDED:
        raise ValueError(f"its columns are not orthonormal: {distance:.1e} off")


def rayleigh_ritz(spaces: list[Array], images: list[Array], keep: int) -> RitzBasis:
    """The ``keep`` best vectors of an orthonormal basis with known images."""
    space, image = np.hstack(spaces), np.hstack(images)
    projected = space.T @ image
    values, rotation = np.linalg.eigh(symmetric(projected))
    best = rotation[:, ::-1][:, :keep]
    basis = RitzBasis(values[::-1][:keep], space @ best, image @ best)
    if len(spaces) == 1:
        return basis
    # the last directions in coefficients of the basis, orthogonal to the new vectors there: LOBPCG breaks down where its basis
    # X, R, P becomes dependent (U. Hetmaniuk and R. Lehoucq, Basis selection in LOBPCG, J. Comput. Phys. 218, 2006)
    outside = best.copy()
    outside[:keep] = 0.0
    steps = orthonormal_complement(outside, [best])
    return replace(basis, directions=space @ steps, direction_images=image @ steps)


def search_directions(basis: RitzBasis, outside: list[Array]) -> Array:
    """Orthonormal residuals outside the subspace so far and outside given orthonormal columns, (l, at most b).

    There are none where the subspace is invariant or fills the space.

    ``outside``: orthonormal columns to stay away from, (l, k) each.
    """
    return orthonormal_complement(basis.residuals, [*basis.parts()[0], *outside])


def stepped(basis: RitzBasis, directions: Array, images: Array) -> RitzBasis:
    """One locally optimal step: Rayleigh-Ritz on the Ritz vectors, new directions and those of the last step."""
    spaces, known = basis.parts()
    return rayleigh_ritz([spaces[0], directions, *spaces[1:]], [known[0], images, *known[1:]], keep=basis.values.size)


def orthonormal_complement(columns: Array, spaces: list[Array]) -> Array:
    """Orthonormal basis of the columns outside the orthonormal spaces; columns that vanish there are dropped.

    ``columns``: (l, b); ``spaces``: orthonormal columns, (l, k) each. Returns (l, at most b).
    """
    space = np.hstack(spaces)
    room = space.shape[0] - space.shape[1]
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), np.finfo(np.float64).tiny)
    # twice is enough (Kahan, in Parlett, The Symmetric Eigenvalue Problem, section 6.9)
    for _ in range(2):
        columns = _orthonormal(columns - space @ (space.T @ columns))[:, :room]
    return np.asarray(columns)


# Part of random numbers in the columns of a known start: no direction is left out for good.
SPRINKLED = 1e-5
# Directions of a start that are shorter than this part of the longest say nothing.
SMALL_PART = 1e-8


def begin_from(start: Array, known: Array, most: int) -> int:
    """Replace the first columns of a random start, (l, b), by those that are known, (l, k), or by mixtures of all of them.

    The columns beyond ``most`` stay random. Returns the number of columns replaced.
    """
    left, sizes, _ = thin_svd(np.asarray(known, dtype=np.float64))
    told = int(np.sum(sizes > SMALL_PART * sizes.max(initial=0.0)))
    columns = int(start.shape[1])
    count = min(told, most, columns if columns <= most else columns - 1)
    # a narrow block mixes all directions that are known, of which its products make as many columns as there are
    kept = min(told, most)
    mixture = start[:kept, :count] if count < kept else np.eye(kept) * np.sqrt(kept)
    mixed = left[:, :kept] @ mixture * np.sqrt(len(start) / kept)
    start[:, :count] *= SPRINKLED
    start[:, :count] += mixed
    return count


def thin_svd(columns: Array) -> tuple[Array, Array, Array]:
    """Left vectors, (l, k), singular values, descending, and right vectors, (k, k), of columns, (l, k)."""
    try:
        return np.linalg.svd(columns, full_matrices=False)
    except np.linalg.LinAlgError:
        # the quick method fails on some finite columns of nothing but rounding; the sure one takes a few times as long
        left, sizes, right = scipy.linalg.svd(columns, full_matrices=False, lapack_driver="gesvd")
        return left, sizes, right


def _orthonormal(columns: Array) -> Array:
    """Left singular vectors of the columns, largest first, without those of singular values below 1e-10 of the largest.

    From the eigenvectors of the Gram matrix (SVQB: A. Stathopoulos and K. Wu, SIAM J. Sci. Comput. 23, 2002), a fifth of the
    time of a singular value decomposition, where it has the digits: it squares the condition number, so columns close to
    dependent are decomposed themselves.
    """
    squares, rotation = np.linalg.eigh(columns.T @ columns)
    if squares.size and squares[0] > GRAM_FLOOR * squares[-1]:
        return np.asarray(columns @ (rotation[:, ::-1] / np.sqrt(squares[::-1])))
    left, sizes, _ = thin_svd(columns)
    kept = sizes > 1e-10 * max(float(sizes[0]), 1e-300) if sizes.size else np.zeros(0, dtype=bool)
    return np.asarray(left[:, kept])


# Left vectors, (rows, k), singular values, (k,), descending, and right vectors, (l, k).
Triplets = tuple[Array, Array, Array]


def singular_triplets(vectors: Array, images: Array) -> Triplets:
    """The best singular triplets of A on a subspace, to the rounding of A itself and not of D = A^T A.

    ``vectors``: orthonormal columns X, (l, k); ``images``: A X, (rows, k) with rows >= k; they are overwritten by
    the left vectors where that can be. Returns left vectors (rows, k), singular values (k,), descending, and right
    vectors (l, k).
    """
    images = np.require(images, requirements="W")
    # panel by panel in place, then of the triangles (TSQR, Demmel et al. 2012): as stable as at once, without three copies
    panels = np.array_split(images, max(1, len(images) // max(PANEL_ROWS, images.shape[1])))
    triangles = []
    for panel in panels:
        panel[:], triangle = _orthogonal_triangular(panel)
        triangles.append(triangle)
    rotations, triangle = np.linalg.qr(np.vstack(triangles))
    left, values, right = np.linalg.svd(triangle)
    for panel, rotation in zip(panels, np.split(rotations, len(panels)), strict=True):
        panel[:] = panel @ (rotation @ left)
    return images, values, vectors @ right.T


def _orthogonal_triangular(columns: Array) -> tuple[Array, Array]:
    """Q, (l, k), and R, (k, k), of columns, (l, k), both to the rounding of each column's own length.

    By Cholesky QR, twice, where the columns have the digits for it once all have one length, as images of Ritz vectors have:
    they are nearly orthogonal. It takes a quarter of the time of Householder's reflections.
    """
    sizes = np.linalg.norm(columns, axis=0)
    scaled = columns / np.maximum(sizes, np.finfo(np.float64).tiny)
    gram = scaled.T @ scaled
    squares = np.linalg.eigvalsh(gram)
    if not (squares.size and squares[0] > NEARLY_ORTHOGONAL * squares[-1]):
        found = np.linalg.qr(columns)
        return found.Q, found.R
    nearly, first = cholesky_qr(scaled, gram)
    orthonormal, second = cholesky_qr(nearly, nearly.T @ nearly)
    return orthonormal, second @ (first * sizes)


def cholesky_qr(columns: Array, gram: Array) -> tuple[Array, Array]:
    """Q, (l, k), and R, (k, k), of columns, (l, k), from their Gram matrix; Q has lost digits, which a second pass restores.

    The inverse of the small triangle takes less time than solving with it, and the second pass restores what that loses too.
    """
    root = np.linalg.cholesky(gram)
    return (np.linalg.inv(root) @ columns.T).T, np.asarray(root.T)


@dataclass(frozen=True)
class BestFactors:
    """The best factors with rows in a subspace, balanced and ordered by singular value.

    For singular triplets (q, sigma, x) of A on the subspace they are q and x times ((sigma - lam)_+)^(1/2). Column signs
    are fixed: they would otherwise depend on the last digits, and so on the workers that were slow.
    """

    # the leading triplets, (rows, d), (d,) and (l, d)
    left: Array
    sigma: Array
    right: Array
    regularization: float  # ridge weight lam

    @classmethod
    def of(cls, triplets: Triplets, rank: int, regularization: float, error: float) -> BestFactors:
        """The best factors on a subspace of which the singular triplets of A are known, rank or more of them.

        ``error``: relative error of the products that gave them.

        Raises UsageError without regularisation, if the rank is above that of the data as far as rounding shows.
        """
        left, sigma, right = triplets
        floor = floor_of(max(left.shape[0], right.shape[0]), error) * sigma[0]
        if regularization == 0 and not sigma[rank - 1] > floor:
            raise rank_error(int(np.sum(sigma > floor)), rank)
        side = signs(right[:, :rank])
        return cls(left[:, :rank] * side, sigma[:rank], right[:, :rank] * side, regularization)

    @property
    def kept(self) -> Array:
        """The singular values less the ridge weight, (d,), none below zero."""
        return np.maximum(self.sigma - self.regularization, 0.0)

    @property
    def factors(self) -> tuple[Array, Array]:
        """(rows, d) and (l, d); A is about their product."""
        weights = np.sqrt(self.kept)
        return self.left * weights, self.right * weights

    def measured(self, problem: Problem) -> tuple[float, float]:
        """The exact objective, and the part of it caused by the decoding error of A X.

        The loss is second order in that difference but for the ridge term, and it is not lost in the rounding of the
        objective near an exact fit.
        """
        image = problem.image(self.right)
        # column by column: with millions of rows each copy counts
        columns = range(self.kept.size)
        along = np.array([np.sum(image[:, column] * self.left[:, column]) for column in columns])
        explained = 2 * float(along @ self.kept) - float(self.kept @ self.kept)
        left_out = problem.squared_norm - explained
        if problem.cancels(explained):
            left_out = problem.squared_error(self.left * self.kept, self.right)
        moved = 0.0
        for column in np.flatnonzero(self.kept > 0):
            left = self.left[:, column]
            difference = image[:, column] - left * self.sigma[column]
            moved += float(np.sum(difference**2)) + 2 * self.regularization * abs(float(np.sum(difference * left)))
        return left_out + 2 * self.regularization * float(self.kept.sum()), moved


def signs(vectors: Array) -> Array:
    """1 or -1 for each column, (d,): the side of a fixed hyperplane without symmetries, on which it lies.

    The entry of largest size would do for random vectors, but ties are common in ratings.
    """
    normal = np.random.default_rng(0).standard_normal(vectors.shape[0])
    return np.asarray(np.where(normal @ vectors < 0, -1.0, 1.0))
