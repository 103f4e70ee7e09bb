"""A dense matrix in parts of rows that are never together: its means, its Gram matrix, and products with it.

A memory-mapped array, one of a small type, or one in the memory of other machines is read some rows at a time, in float64
and less its means: a correction of a finished A^T A would lose the square of an offset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np

from coded_als.als.centring import NOTHING_LEFT
from coded_als.als.estimator import FREE, CodedALS
from coded_als.als.history import CodedIteration
from coded_als.als.problem import Problem, unit_of
from coded_als.als.products import RoundLog
from coded_als.als.spread import FormedGram
from coded_als.arrays import Array
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.scope import Scope
from coded_als.cluster.seam import Cluster
from coded_als.cluster.verification import verified
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import require_factorable
from coded_als.models.training import recording, reporting
from coded_als.planner.schemes import Extent

# Numbers of a part that are in float64 at a time.
AT_ONCE = 2**21

Work = Callable[..., Array]


class RowParts(ABC):
    """Parts of rows of a dense matrix, (m, n) with m >= n."""

    def __init__(self, shape: tuple[int, int], bounds: Sequence[int]) -> None:
        self.shape, self.spans = shape, [slice(*span) for span in pairwise(bounds)]

    @abstractmethod
    def reduced(self, add: Callable[[Array, Array], Array], work: Work, *common: Any) -> Array:
        """The results of some work on each part, arrays (k, n), added up in a fixed order; ``common``: what all parts need."""

    @abstractmethod
    def stacked(self, work: Work, *common: Any) -> Array:
        """The results of some work on each part, (rows of the part, k), one below the other, (m, k)."""

    @abstractmethod
    def reduced_with(self, rows: Array, work: Work, *common: Any) -> Array:
        """As `reduced` by sums, where each part needs its rows of an array, (m, k), too."""

    @cached_property
    def facts(self) -> Array:
        """Sums, least and largest numbers of the columns, (3, n).

        Raises UsageError for numbers that are not finite.
        """
        found = self.reduced(joined_facts, facts_of)
        if not np.isfinite(found).all():
            column = int(np.flatnonzero(~np.isfinite(found).all(axis=0))[0])
            raise UsageError(f"data must be finite; got NaN or infinity, or a sum that overflows, in column {column}.")
        return found

    @cached_property
    def means(self) -> Array:
        """Means of the columns, (n,); of equal numbers exactly that number."""
        means = np.clip(self.facts[0] / self.shape[0], self.facts[1], self.facts[2])
        # once more for the part that rounding has left of a large mean
        rest = self.reduced(np.add, sums_of, means) / self.shape[0]
        return np.asarray(np.clip(means + rest, self.facts[1], self.facts[2]))

    def variance(self) -> float:
        """The variance of all columns together."""
        return float(self.reduced(np.add, squares_of, self.means)[0]) / self.shape[0]


class LocalParts(RowParts):
    """Parts of an array that gives its rows by slices: NumPy, a memory map, zarr, HDF5."""

    def __init__(self, array: Any) -> None:
        rows, columns = array.shape
        step = max(1, AT_ONCE // max(columns, 1))
        if getattr(array, "chunks", None):  # a whole chunk is read for each of its rows
            step = int(array.chunks[0]) * max(1, step // int(array.chunks[0]))
        super().__init__((rows, columns), [*range(0, rows, step), rows])
        self._array = array

    def reduced(self, add: Callable[[Array, Array], Array], work: Work, *common: Any) -> Array:
        return reduce(add, (work(self._array[span], *common) for span in self.spans))

    def stacked(self, work: Work, *common: Any) -> Array:
        return np.concatenate([work(self._array[span], *common) for span in self.spans])

    def reduced_with(self, rows: Array, work: Work, *common: Any) -> Array:
        return reduce(np.add, (work(self._array[span], rows[span], *common) for span in self.spans))


def rows_at_a_time(part: Any, means: Array | None = None, unit: float = 1.0) -> Iterator[tuple[slice, Array]]:
    """Some rows of a part at a time, (rows, n), in float64, less the means and in a unit; and their places."""
    step = max(1, AT_ONCE // max(part.shape[1], 1))
    for start in range(0, part.shape[0], step):
        rows = slice(start, start + step)
        panel = np.array(part[rows], dtype=np.float64)
        if means is not None:
            panel -= means
        if unit != 1.0:
            panel /= unit
        yield rows, panel


def facts_of(part: Any) -> Array:
    """Sums, least and largest numbers of the columns of a part, (3, n)."""
    part = np.asarray(part)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = part.sum(axis=0, dtype=np.float64)
    return np.stack([sums, part.min(axis=0).astype(np.float64), part.max(axis=0).astype(np.float64)])


def joined_facts(one: Array, other: Array) -> Array:
    """The facts of two parts together, (3, n)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([one[0] + other[0], np.minimum(one[1], other[1]), np.maximum(one[2], other[2])])


def sums_of(part: Any, means: Array) -> Array:
    """Sums of the columns less the means, (n,)."""
    return np.asarray(sum(panel.sum(axis=0) for _, panel in rows_at_a_time(part, means)))


def squares_of(part: Any, means: Array) -> Array:
    """The sum of all squares less the means, (1,)."""
    return np.array([sum(np.vdot(panel, panel) for _, panel in rows_at_a_time(part, means))])


def gram_of(part: Any, means: Array | None, unit: float) -> Array:
    """A_k^T A_k of a part, (n, n)."""
    gram = np.zeros((part.shape[1],) * 2)
    for _, panel in rows_at_a_time(part, means, unit):
        gram += panel.T @ panel
    return gram


def image_of(part: Any, means: Array | None, unit: float, vectors: Array) -> Array:
    """A_k X of a part, (rows, k)."""
    return np.concatenate([panel @ vectors for _, panel in rows_at_a_time(part, means, unit)])


def gram_product_of(part: Any, means: Array | None, unit: float, vectors: Array) -> Array:
    """A_k^T (A_k X) of a part, (n, k)."""
    return np.asarray(sum(panel.T @ (panel @ vectors) for _, panel in rows_at_a_time(part, means, unit)))


def adjoint_of(part: Any, left: Array, means: Array | None, unit: float) -> Array:
    """A_k^T Y_k of a part, (n, k)."""
    return np.asarray(sum(panel.T @ left[rows] for rows, panel in rows_at_a_time(part, means, unit)))


def error_of(part: Any, left: Array, means: Array | None, unit: float, right: Array) -> Array:
    """||A_k - Y_k X^T||^2 of a part, (1,)."""
    residuals = (panel - left[rows] @ right.T for rows, panel in rows_at_a_time(part, means, unit))
    return np.array([sum(np.vdot(one, one) for one in residuals)])


@dataclass(frozen=True, eq=False)
class PartsProblem(Problem):
    """A problem with `RowParts` as its ``matrix``, A of which is less the means and in a unit."""

    means: Array | None  # (n,)
    unit: float
    gram: Array  # D = A^T A, (n, n)

    @classmethod
    def of_parts(cls, parts: RowParts, centred: bool) -> PartsProblem:
        """Form D of some parts.

        Raises UsageError for numbers that are not finite, or have no squares.
        """
        means = parts.means if centred else None
        sizes = np.abs(parts.facts[1:] - (0.0 if means is None else means))
        unit = unit_of(float(sizes.max()))
        problem = cls(parts, False, means, unit, parts.reduced(np.add, gram_of, means, unit))
        require_factorable(float(sizes.max()), problem.squared_norm * unit * unit)
        return problem

    @property
    def is_sparse(self) -> bool:
        return False

    @cached_property
    def squared_norm(self) -> float:
        """||A||^2 = tr D."""
        return float(np.trace(self.gram))

    def image(self, vectors: Array) -> Array:
        """A X of (n, k), (m, k)."""
        found: Array = self.matrix.stacked(image_of, self.means, self.unit, vectors)
        return found

    def adjoint(self, vectors: Array) -> Array:
        """A^T Y of (m, k), (n, k)."""
        found: Array = self.matrix.reduced_with(vectors, adjoint_of, self.means, self.unit)
        return found

    def gram_product(self, vectors: Array) -> Array:
        """A^T (A X) of (n, k), (n, k), in one pass."""
        found: Array = self.matrix.reduced(np.add, gram_product_of, self.means, self.unit, vectors)
        return found

    def squared_error(self, other: Array, factor: Array) -> float:
        """||A - other factor^T||^2 for (m, d) and (n, d), as accurate as A itself."""
        return float(self.matrix.reduced_with(other, error_of, self.means, self.unit, factor)[0])


def is_nothing(parts: RowParts, centred: bool) -> bool:
    """Whether rounding alone is left of the data."""
    whole = float(parts.reduced(np.add, squares_of, np.zeros(parts.shape[1]))[0])
    left = parts.variance() * parts.shape[0] if centred else whole
    return left <= NOTHING_LEFT**2 * whole


def fit_row_parts(model: CodedALS, problem: PartsProblem, cluster: Cluster | None) -> CodedALS:
    """Fit a model to parts of rows, with products of D on the workers of a cluster; the model has seen no rating.

    Raises UsageError for parameters that need all rows at the master.
    """
    if model.protocol == "paper" or model.weighting != "none":
        raise UsageError(
            "parts of rows are factorized as they are, with protocol='fused' and weighting='none'; got others."
        )
    rows, length = problem.matrix.shape
    asked = model._checked()
    cluster = cluster or InlineCluster(1 if asked is None else asked.fewest_workers)
    spread = model.spread_over(Extent(rows, length, None), cluster.size, cluster.delays, cluster.machine)
    with (
        reporting(None, False, model) as report,
        recording(model, problem, report, None, cluster.seconds, FREE, CodedIteration) as run,
        Scope(cluster) as scope,
    ):
        log = RoundLog(verified(scope, model.verify))
        error = model.decoding_error(spread.code)
        held = FormedGram(log, spread.code, error, problem.gram, problem.image, np.dtype(model.dtype))
        users, items = model.factorize(problem, held, log, spread, problem.unit, run)
    model._keep(users, items, item_biases=problem.means)
    return model
