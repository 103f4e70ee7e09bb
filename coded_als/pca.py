"""Principal components and truncated SVD on a cluster, with scikit-learn's attributes (`pip install 'coded-als[sklearn]'`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.als import CodedALS
from coded_als.als.centring import NOTHING_LEFT
from coded_als.als.ritz import orthonormal_complement
from coded_als.als.row_parts import LocalParts, PartsProblem, RowParts, fit_row_parts, image_of, is_nothing
from coded_als.als.updates import RankError
from coded_als.arrays import Array
from coded_als.checks import seed_of_state
from coded_als.cluster.seam import Cluster
from coded_als.errors import UsageError
from coded_als.lazy import offered

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise UsageError(
        "CodedPCA and CodedTruncatedSVD need scikit-learn 1.6 or later; it is not installed. "
        "Run pip install 'coded-als[sklearn]'."
    ) from None


class _Components(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The leading singular vectors of a matrix, perhaps less the means of its columns."""

    _center: str | None
    _least_rows: int

    def __init__(
        self,
        rank: int = 2,
        *,
        tolerance: float = 1e-12,
        random_state: int | np.random.RandomState | None = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.rank, self.tolerance = rank, tolerance
        self.random_state, self.parameters = random_state, parameters

    def fit(self, X: Any, y: Any = None, *, cluster: Cluster | None = None) -> Self:
        """Compute the components of (m, n) data.

        Parameters
        ----------
        X
            Dense or sparse; a sparse matrix is not filled in, also where the means are subtracted. A memory-mapped array, a
            large one with at least as many rows as columns, and an array of zarr are read some rows at a time, in float64,
            and never copied as a whole. A Dask array stays on its workers: each of its chunks of rows gives its part of the
            Gram matrix (n, n).
        y
            Ignored.
        cluster
            Where to run; by default in this process. It is not closed.

        Raises
        ------
        UsageError
            For parameters that do not fit the matrix or the cluster.
        NotEnoughWorkers
            When fewer workers respond than the code needs.
        """
        parts = in_parts(X)
        # a cluster may share the work of an array in memory, which parts would leave to the master
        if (
            isinstance(X, np.ndarray)
            and not isinstance(X, np.memmap)
            and (cluster is not None or self._asks_for_more())
        ):
            parts = None
        if parts is None:
            self._fit(self._validated(X, reset=True), cluster)
        else:
            self.n_features_in_ = parts.shape[1]
            _require_size(parts.shape, max(self.rank, self._least_rows), self.rank)
            self._fit(parts, cluster)
        return self

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> Array:
        """Compute the components, and the coordinates of the rows, (m, rank)."""
        return np.asarray(self.fit(X, y, **options).transform(X))

    def _fit(self, matrix: Any, cluster: Cluster | None) -> None:
        seed = seed_of_state(self.random_state)
        given = {"tolerance": self.tolerance, "seed": seed, "center": self._center, **(self.parameters or {})}
        self.n_components_, self.n_samples_ = self.rank, matrix.shape[0]
        rank, self.model_ = 0 if self._is_nothing(matrix) else self.rank, None
        whole = not isinstance(matrix, RowParts)
        problem = PartsProblem.of_parts(matrix, self._center is not None) if rank and not whole else None
        while rank > 0 and self.model_ is None:
            try:
                model = CodedALS(rank, **given)
                self.model_ = model.fit(matrix, cluster) if problem is None else fit_row_parts(model, problem, cluster)
            except RankError as error:  # beyond the rank of the data the variances are zero
                rank = min(error.rank, rank - 1)
        factors = np.zeros((matrix.shape[1], 0)) if self.model_ is None else self.model_.item_factors_
        sizes: Array = np.asarray(np.linalg.norm(factors, axis=0), dtype=np.float64)
        directions: Array = factors / sizes
        lacking = self.rank - sizes.size
        if lacking:
            others = np.random.default_rng(0).standard_normal((matrix.shape[1], lacking))
            directions = np.hstack([directions, orthonormal_complement(others, [directions])])
        self.singular_values_ = np.append(sizes**2, np.zeros(lacking))
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(self.rank)]
        self.components_ = (directions * np.where(largest < 0, -1.0, 1.0)).T
        self.converged_ = self.model_ is None or self.model_.converged_
        self.outcome_ = "converged" if self.model_ is None else self.model_.outcome_
        self.history_ = [] if self.model_ is None else self.model_.history_

    def _is_nothing(self, matrix: Any) -> bool:
        """Whether rounding alone is left of the data."""
        if isinstance(matrix, RowParts):
            return is_nothing(matrix, self._center is not None)
        values = matrix.data if sparse.issparse(matrix) else matrix
        size = float(np.square(values, dtype=np.float64).sum())
        left = size if self._center is None else _variance(matrix) * matrix.shape[0]
        return left <= NOTHING_LEFT**2 * size

    @property
    def _left_out(self) -> float:
        """The squared norm of the data outside the components."""
        return 0.0 if self.model_ is None or self.model_.item_factors_.shape[1] < self.rank else self.model_.objective_

    def _validated(self, X: Any, *, reset: bool = False) -> Any:
        if not reset:
            check_is_fitted(self)
            return validate_data(self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32))
        rows = columns = max(self.rank, 1) if isinstance(self.rank, int) else 1
        return validate_data(
            self, X, accept_sparse="csr", dtype=(np.float64, np.float32),
            ensure_min_samples=max(rows, self._least_rows), ensure_min_features=columns,
        )  # fmt: skip

    def _asks_for_more(self) -> bool:
        """Whether parameters need all rows at the master."""
        return bool({"protocol", "weighting", "precomputation"} & set(self.parameters or {}))

    def _in_parts(self, X: Any) -> RowParts | None:
        """The parts of rows to transform, if it is an array of such."""
        check_is_fitted(self)
        parts = in_parts(X)
        if parts is not None and parts.shape[1] != self.n_features_in_:
            raise UsageError(f"data must have {self.n_features_in_} columns, as in fit; got {parts.shape[1]}.")
        return parts

    @property
    def _n_features_out(self) -> int:
        return int(self.rank)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class CodedPCA(_Components):
    """Principal components on a cluster that does not wait for its slow machines, with scikit-learn's attributes.

    The means of the columns are subtracted without filling a sparse matrix in.

    Parameters
    ----------
    rank
        Number of components.
    tolerance
        The variance outside the components is proved to be within this of the least, relative to it.
    random_state
        Seed of the start, or a source of random numbers by scikit-learn's rules; None for its global one.
    parameters
        Further parameters of `coded_als.CodedALS`, such as ``{"code": "systematic:p=20"}``.

    Attributes
    ----------
    components_
        Unit vectors of the largest variance, (rank, n), descending; the largest entry of each is positive.
    explained_variance_
        Variance along each, with m - 1 degrees of freedom, (rank,).
    explained_variance_ratio_
        The same relative to the variance of all columns together, (rank,).
    singular_values_
        Singular values of the centred matrix, (rank,).
    mean_
        Means of the columns, (n,).
    noise_variance_
        Mean variance of the directions outside the components.
    converged_
        Whether the components are proved to be within the tolerance; ``outcome_`` says why not.
    n_components_
        The rank.
    n_samples_
        Rows m of the matrix.
    n_features_in_
        Columns n of the matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedPCA
    >>> data = 100 + np.outer(np.arange(5.0), [3.0, 0.0, 4.0])
    >>> pca = CodedPCA(rank=1).fit(data)
    >>> np.allclose(pca.components_, [[0.6, 0.0, 0.8]])
    True
    """

    _center, _least_rows = "columns", 2

    def _fit(self, matrix: Any, cluster: Cluster | None) -> None:
        super()._fit(matrix, cluster)
        whole = not isinstance(matrix, RowParts)
        self.mean_ = np.asarray(matrix.mean(axis=0, dtype=np.float64)).ravel() if whole else matrix.means
        freedom = matrix.shape[0] - 1
        total = float((self.singular_values_**2).sum()) + self._left_out
        self.explained_variance_ = self.singular_values_**2 / freedom
        self.explained_variance_ratio_ = self.singular_values_**2 / total if total else np.zeros(self.rank)
        outside = min(matrix.shape) - self.rank
        self.noise_variance_ = self._left_out / freedom / outside if outside > 0 else 0.0

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the coordinates of rows, (k, n), along the components, (k, rank)."""
        if (parts := self._in_parts(X)) is not None:
            return parts.stacked(image_of, self.mean_, 1.0, self.components_.T)
        matrix = self._validated(X)
        if not sparse.issparse(matrix):
            # before the product: an offset would take the digits of what is left
            matrix = matrix - self.mean_
            return np.asarray(matrix @ self.components_.T, dtype=np.float64)
        return np.asarray(matrix @ self.components_.T - self.mean_ @ self.components_.T, dtype=np.float64)

    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Return the rows, (k, n), with given coordinates, (k, rank)."""
        check_is_fitted(self)
        return np.asarray(np.asarray(X) @ self.components_ + self.mean_)


class CodedTruncatedSVD(_Components):
    """The leading singular vectors on a cluster that does not wait for its slow machines, with scikit-learn's attributes.

    Nothing is subtracted: see `CodedPCA` for the components of the variance, and for the parameters.

    Parameters
    ----------
    rank
        Number of components.
    tolerance
        The squared norm outside the components is proved to be within this of the least, relative to it.
    random_state
        Seed of the start, or a source of random numbers by scikit-learn's rules; None for its global one.
    parameters
        Further parameters of `coded_als.CodedALS`.

    Attributes
    ----------
    components_
        Right singular vectors, (rank, n), descending; the largest entry of each is positive.
    singular_values_
        Singular values, (rank,).
    explained_variance_
        Variance of the rows' coordinates along each, (rank,).
    explained_variance_ratio_
        The same relative to the variance of all columns together, (rank,).

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedTruncatedSVD
    >>> svd = CodedTruncatedSVD(rank=1).fit(np.outer([1.0, 2.0, 2.0], [3.0, 0.0, 4.0]))
    >>> np.allclose(svd.singular_values_, [15.0])
    True
    """

    _center, _least_rows = None, 1

    def _fit(self, matrix: Any, cluster: Cluster | None) -> None:
        super()._fit(matrix, cluster)
        coordinates = self._coordinates(matrix)
        self.explained_variance_ = coordinates.var(axis=0)
        total = _variance(matrix)
        self.explained_variance_ratio_ = self.explained_variance_ / total if total else np.zeros(self.rank)

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the coordinates of rows, (k, n), along the components, (k, rank)."""
        parts = self._in_parts(X)
        return self._coordinates(self._validated(X) if parts is None else parts)

    def _coordinates(self, matrix: Any) -> NDArray[np.float64]:
        if isinstance(matrix, RowParts):
            return matrix.stacked(image_of, None, 1.0, self.components_.T)
        return np.asarray(matrix @ self.components_.T, dtype=np.float64)

    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Return the rows, (k, n), with given coordinates, (k, rank)."""
        check_is_fitted(self)
        return np.asarray(np.asarray(X) @ self.components_)


def _variance(matrix: Any) -> float:
    """The variance of all columns together."""
    if isinstance(matrix, RowParts):
        return matrix.variance()
    if not sparse.issparse(matrix):
        return float(np.var(matrix, axis=0, dtype=np.float64).sum())
    means = np.asarray(matrix.mean(axis=0)).ravel()
    by_column = matrix.tocsc()
    counts = np.diff(by_column.indptr)
    squares = np.square(by_column.data - np.repeat(means, counts)).sum()
    whole = squares + float(((matrix.shape[0] - counts) * means**2).sum())
    return float(whole / matrix.shape[0])


# Numbers from which an array is read in parts; below it, copies are cheap.
LARGE = 2**24


def in_parts(data: Any) -> RowParts | None:
    """Parts of rows of data that are not to be copied as a whole; None for all other data."""
    if sparse.issparse(data) or len(getattr(data, "shape", ())) != 2 or not hasattr(data, "dtype"):
        return None
    is_dask = type(data).__module__.startswith("dask.array")
    if not is_dask and (isinstance(data, np.ma.MaskedArray) or not _in_slices(data)):
        return None
    if data.dtype.kind not in "biuf" or data.dtype == np.longdouble:
        raise UsageError(f"data must be real numbers; got {data.dtype}. Convert it.")
    if not is_dask:
        return LocalParts(data)
    found: RowParts = import_module(offered("arrays")["dask"]).DaskParts(data)  # needs a library of its own
    return found


def _in_slices(data: Any) -> bool:
    """Whether an array is on disk, or so large that a copy would matter, and long enough to be read by rows."""
    rows, columns = data.shape
    if rows < columns:
        return False
    if isinstance(data, np.memmap):
        return True
    if isinstance(data, np.ndarray):
        return bool(data.size >= LARGE and data.dtype.kind in "biuf")
    return hasattr(data, "chunks") and hasattr(data, "__getitem__")


def _require_size(shape: tuple[int, int], rows: int, columns: int) -> None:
    """Refuse data with fewer rows or columns than components."""
    if shape[0] < rows or shape[1] < columns or shape[0] < shape[1]:
        raise UsageError(
            f"data in parts must have at least {rows} rows, {columns} columns, and as many rows as columns; got {shape}."
        )
