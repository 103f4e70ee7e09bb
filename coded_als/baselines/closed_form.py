"""Models with a closed form: EASE, a linear model of items by items, and the popularity of items."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from coded_als.arrays import Array, Integers
from coded_als.checks import require_number
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import pattern, rating_matrix
from coded_als.models.recommending import NewItems, NewRatings, NewUsers, Ranking
from coded_als.models.training import Callbacks, Iteration, recording, reporting

# Columns of the Gram matrix that are formed at once.
BLOCK = 512


class RatedRows:
    """The rated items of every user as rows of zeros and ones, (m, n), dense only where rows are asked for."""

    def __init__(self, rated: sparse.csr_array) -> None:
        self._rated, self.shape = rated, rated.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Array:
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return np.asarray(self[np.array([rows])][0])
        return np.asarray(self._rated[rows].toarray(), dtype=np.float64)


class ClosedForm(FactorModel):
    """A model that is one formula of where the ratings are; their values do not matter."""

    history_: list[Iteration]
    _entry = Iteration
    iterations: ClassVar[int] = 1

    def fit(
        self,
        ratings: Any,
        *,
        columns: Sequence[str] | None = None,
        callback: Callbacks | None = None,
        progress: bool = False,
        checkpoint: Checkpoint | None = None,
        start: FactorModel | None = None,
    ) -> Self:
        """Compute the model of a rating matrix.

        ``ratings``: as for `coded_als.ImplicitALS.fit`; the stored entries count, their values do not.

        Raises UsageError for ratings without entries, and for a start or a checkpoint: there are no iterations.
        """
        self._require_no_iterations(start=start, checkpoint=checkpoint)
        return self._computed(ratings, columns, callback, progress, self._fit)

    def _require_no_iterations(self, **named: Any) -> None:
        for name, given in named.items():
            if given is not None:
                raise UsageError(
                    f"{type(self).__name__} has a closed form and no iterations; got {name}. Leave it out."
                )

    def _computed(
        self,
        ratings: Any,
        columns: Sequence[str] | None,
        callback: Callbacks | None,
        progress: bool,
        compute: Callable[[sparse.csr_array], float],
    ) -> Self:
        """The model after a computation on the ones where ratings are, which returns the objective."""
        given, ids = named_matrix(ratings, columns)
        matrix = rating_matrix(given, np.float64)
        matrix = sparse.csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
        with (
            reporting(callback, progress, self) as report,
            recording(self, matrix, report, None, time.perf_counter, ids=ids) as run,
        ):
            objective = compute(matrix)
            self.history_ = run.entries
            run.close(objective, lambda: None)
        return self if ids is None else self.set_ids(*ids)

    @abstractmethod
    def _fit(self, matrix: sparse.csr_array) -> float:
        """Compute and keep the model of ones where ratings are; returns the objective."""

    def fold_in_items(self, ratings: NewRatings) -> NewItems:
        """Not defined for a model of fixed items."""
        raise UsageError(f"new items are unknown to {type(self).__name__}; got some. Fit again with their ratings.")


class EASE(ClosedForm):
    """Lists from items that are rated together: a ridge regression of every item on all others, in closed form (Steck 2019).

    Minimises ``||X - X B||^2 + lambda ||B||^2`` over B (n, n) with a zero diagonal, where X (m, n) has a 1 for each
    rating. The scores of a user are the sums of the rows of B of the rated items. It holds n^2 numbers of 8 bytes, and no
    more while it is computed: 1.1 GB for 12,000 items. With `coded_als.baselines.fit_on_cluster` the workers form
    ``X^T X`` from blocks of users, and the master inverts it.

    Parameters
    ----------
    regularization
        lambda, greater than 0: the larger, the more ratings a pair of items needs to count.

    Attributes
    ----------
    weights_
        B, (n, n).

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import EASE
    >>> model = EASE(regularization=1.0).fit(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0]]))
    >>> ids, scores = model.recommend(3, n=1)
    >>> int(ids[0])
    0
    """

    kind: ClassVar[str] = "ease"

    def __init__(self, regularization: float = 200.0) -> None:
        require_number("regularization", regularization, positive=True)
        self.regularization = regularization

    @property
    def weights_(self) -> Array:
        """B, (n, n)."""
        return np.asarray(self.item_factors_.T, dtype=np.float64)

    @staticmethod
    def memory_bytes(items: int) -> int:
        """Return the memory that a fit takes for so many items, and the model after it."""
        return 8 * items * items

    def _fit(self, matrix: sparse.csr_array) -> float:
        return self._fit_by(_gram, matrix)

    def _fit_by(self, gram_of: Callable[[sparse.csr_array], Array], matrix: sparse.csr_array) -> float:
        """Keep the model of a Gram matrix that is formed somewhere, once this machine has the memory for it."""
        _require_memory(matrix.shape[1])
        gram = gram_of(matrix)
        gram[np.diag_indices_from(gram)] += self.regularization
        # in place, of one triangle: a second n x n array would double the memory
        factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
        inverse, failed = (factor, failed) if failed else lapack.dpotri(factor, lower=1, overwrite_c=1)
        if failed:
            raise UsageError(
                f"regularization must keep X^T X + lambda invertible in float64; got {self.regularization}. Raise it."
            )
        _mirror(inverse)
        diagonal = inverse.diagonal().copy()
        inverse /= -diagonal  # column j by the j-th number
        inverse[np.diag_indices_from(inverse)] = 0.0
        self._take(matrix, inverse)
        return float((1.0 / diagonal).sum() - self.regularization * len(diagonal))

    def _take(self, rated: sparse.csr_array, weights: Array) -> None:
        """Keep the rated items and B."""
        empty = np.empty((rated.shape[0], 0)), np.empty((rated.shape[1], 0))
        self._keep(*empty, seen=pattern(rated.shape, rated.indptr, rated.indices))
        self.user_factors_, self.item_factors_ = RatedRows(self.seen_), weights.T  # type: ignore[assignment]

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Return the rated items of new users, (k, n): all that the model knows of a user.

        ``ratings``: one user as a mapping from item id to rating, or (k, n), sparse or dense, with the model's columns.

        Raises UsageError for an unknown item.
        """
        self._require_fitted()
        count = len(self.item_factors_)
        if isinstance(ratings, Mapping):
            row = np.zeros((1, count))
            row[0, self._rated(ratings)[0]] = 1.0
            return NewUsers(row)
        rows = rating_matrix(ratings, np.float64, columns=count, empty=True)
        return NewUsers(pattern(rows.shape, rows.indptr, rows.indices).toarray().astype(np.float64))

    def similar_users(self, *arguments: Any, **options: Any) -> Ranking:
        """Raise `UsageError`: the model has no vectors of users."""
        raise UsageError("EASE has no vectors of users; got similar_users. Use similar_items, or another method.")

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        return columns, np.asarray(self.item_factors_[asked, columns], dtype=np.float64)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        rated = self.seen_
        assert rated is not None
        own = {"weights": self.weights_, "user_ids": self.user_ids, "item_ids": self.item_ids}
        return own | {"seen_indptr": rated.indptr, "seen_indices": rated.indices}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        weights, count = arrays["weights"], len(arrays["item_ids"])
        if weights.shape != (count, count) or weights.dtype != np.float64 or not np.isfinite(weights).all():
            raise ValueError(f"weights of shape {weights.shape} are not those of {count} items")
        for name in ("user_ids", "item_ids"):
            if arrays[name].dtype.kind not in "iuUO":
                raise ValueError(f"{name} of {arrays[name].dtype} are no ids")
        shape = len(arrays["user_ids"]), count
        self._take(pattern(shape, arrays["seen_indptr"], arrays["seen_indices"]), weights)
        self.set_ids(arrays["user_ids"], arrays["item_ids"])


class Popularity(ClosedForm):
    """The same list for everyone: the items with the most ratings, without those that a user has rated.

    The least that another method must reach, and an answer for users without ratings.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import Popularity
    >>> model = Popularity().fit(np.array([[5, 0, 1], [0, 2, 3], [0, 0, 4]]))
    >>> model.recommend_new({}, n=1).ids.tolist()
    [2]
    """

    kind: ClassVar[str] = "popularity"

    def __init__(self) -> None:
        """A model without parameters."""

    def _fit(self, matrix: sparse.csr_array) -> float:
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
        seen = pattern(matrix.shape, matrix.indptr, matrix.indices)
        self._keep(np.ones((matrix.shape[0], 1)), counts[:, np.newaxis], seen=seen)
        return 0.0

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Return rows of a single one: all users are alike."""
        self._require_fitted()
        count = 1 if isinstance(ratings, Mapping) else np.shape(ratings)[0]
        return NewUsers(np.ones((count, 1)))


def _gram(matrix: sparse.csr_array) -> Array:
    """X^T X, (n, n), in Fortran order."""
    count = matrix.shape[1]
    gram: Array = np.empty((count, count), order="F")
    by_item, turned = matrix.tocsc(), matrix.T.tocsr()
    for first in range(0, count, BLOCK):
        part = slice(first, min(first + BLOCK, count))
        gram[:, part] = (turned @ by_item[:, part]).toarray()
    return gram


def _mirror(lower: Array) -> None:
    """Copy the lower triangle to the upper one, in place."""
    for first in range(0, len(lower), BLOCK):
        part = slice(first, min(first + BLOCK, len(lower)))
        square = np.tril(lower[part, part])
        lower[part, part] = square + np.tril(square, -1).T
        lower[part, part.stop :] = lower[part.stop :, part].T


def _require_memory(items: int) -> None:
    """Refuse, before any is taken, a model that the free memory does not hold."""
    needed, free = EASE.memory_bytes(items), _free_bytes()
    if free is not None and needed > free:
        raise UsageError(
            f"EASE holds the weights of all pairs of items: {needed / 2**30:.1f} GiB for {items:,} items; {free / 2**30:.1f} "
            "GiB are free. Drop items with few ratings, or use ImplicitALS."
        )


def _free_bytes() -> float | None:
    """The memory that is free for a process here; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in lines}
        return 1024 * kilobytes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        try:
            return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return None
