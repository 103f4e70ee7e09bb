"""Rating matrices at the entrance of a model: the accepted forms, and which entries are ratings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from coded_als.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def power_of_four(size: float) -> float:
    """The largest power of four that is at most ``size``; 1 for zero.

    Dividing by it, or by its root, changes no digit.
    """
    if size == 0:
        return 1.0
    _, exponent = math.frexp(size)
    return math.ldexp(1.0, (exponent - 1) // 2 * 2)


def pattern(shape: tuple[int, int], indptr: NDArray[Any], indices: NDArray[Any]) -> csr_array:
    """A sparse pattern from its parts, checked; the ones are a single byte each.

    ``shape``: (m, n); ``indptr``: where rows begin, (m + 1,); ``indices``: columns of the entries, (entries,).
    Returns (m, n).

    Raises ValueError when the parts are not those of a sparse matrix of this shape.
    """
    from scipy import sparse

    matrix = sparse.csr_array((np.ones(indices.size, dtype=np.int8), indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def seen_pattern(ratings: Any, *, full: bool = False) -> csr_array | None:
    """Which entries of a training matrix were ratings, for `FactorModel._keep`.

    ``ratings``: (m, n), as for `as_matrix`. Returns (m, n) sparse pattern, or None for a dense matrix without
    zeros: where all is known there is nothing to filter.
    """
    from scipy import sparse

    stored = as_matrix(ratings, narrow=True)
    if isinstance(stored, np.ndarray):
        if not full and stored.all():
            return None
        stored = sparse.csr_array(stored)
    return pattern(stored.shape, stored.indptr, stored.indices)


# Compiled loops number the columns in int32.
MOST_ROWS = 2**31 - 1


# Whole numbers up to this size are exact in float32.
EXACT_IN_SINGLE = 2**24


def as_matrix(ratings: Any, *, narrow: bool = False) -> Any:
    """Ratings of any accepted form as a NumPy or SciPy array.

    ``narrow``: float32 stays so, and whole numbers that are exact in it become float32, instead of twice the memory.

    ``ratings``: (m, n): scipy sparse (every stored entry is a rating, and several values in one place are their sum), a
    masked array (the masked entries alone are missing), or dense (zeros are missing). Formats of blocks and of
    diagonals (BSR and DIA) are filled up with zeros: zeros are missing in them, as in a dense matrix. Returns (m, n)
    float64, an array, or a csr array in canonical form.
    """
    from scipy import sparse

    if sparse.issparse(ratings):
        _require_real(ratings.shape, ratings.dtype)
        return _canonical(ratings, _narrowest(ratings) if narrow else np.float64)
    if is_table(ratings):
        raise UsageError(
            f"ratings must be a matrix, or a table with named columns; got a {type(ratings).__name__} without. "
            "Pass columns=('user', 'item', 'rating'), or .to_numpy() where the table is a matrix."
        )
    matrix = np.ma.asarray(ratings) if isinstance(ratings, np.ma.MaskedArray) else np.asarray(ratings)
    _require_real(matrix.shape, matrix.dtype)
    if not isinstance(matrix, np.ma.MaskedArray):
        return matrix.astype(_narrowest(matrix) if narrow else np.float64, copy=False)
    present = ~np.ma.getmaskarray(matrix)
    rows, columns = np.nonzero(present)
    values = matrix.data[present].astype(np.float64)
    return sparse.csr_array((values, (rows, columns)), shape=matrix.shape)


def is_table(ratings: Any) -> bool:
    """Whether this is a DataFrame, or a part of one, by the protocols that such libraries speak."""
    return hasattr(ratings, "__arrow_c_stream__") or hasattr(ratings, "__dataframe__")


def _require_real(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 2 or dtype.kind not in "biuf":
        raise UsageError(
            f"ratings must be a real matrix; got shape {shape} of {dtype}. Pass an (m, n) matrix of numbers."
        )


def _narrowest(ratings: Any) -> Any:
    """The type, float32 or float64, that holds the numbers of a matrix exactly."""
    if ratings.dtype == np.float32 or ratings.dtype.itemsize <= 2:
        return np.float32
    if ratings.dtype.kind not in "iu" or 0 in ratings.shape:
        return np.float64
    values = _stored(ratings)
    small = values.size == 0 or (int(values.min()) >= -EXACT_IN_SINGLE and int(values.max()) <= EXACT_IN_SINGLE)
    return np.float32 if small else np.float64


def _stored(ratings: Any) -> NDArray[Any]:
    """The numbers that a matrix stores. ``min`` and ``max`` of a sparse one would sort the caller's own arrays."""
    if isinstance(ratings, np.ndarray):
        return ratings
    return np.asarray(ratings.data if ratings.format in ("csr", "csc", "coo", "bsr", "dia") else ratings.tocsr().data)


def _canonical(ratings: Any, dtype: Any = np.float64) -> csr_array:
    """A csr array with one sorted entry for each place; the argument is not changed."""
    if max(ratings.shape) > MOST_ROWS:
        raise UsageError(
            f"ratings must have at most {MOST_ROWS} rows and as many columns; got shape {ratings.shape}. Number the users "
            "and items that occur 0, 1, 2, ..., as np.unique(ids, return_inverse=True) does."
        )
    try:
        check = getattr(ratings, "check_format", None)
        if check is not None:  # an index out of range would be an access out of bounds in compiled loops
            check(full_check=True)
        # as float64 first: sums of small integers must not wrap, nor be rounded to float32
        one_each = getattr(ratings, "has_canonical_format", False)
        matrix = without_padding(ratings.astype(dtype if one_each else np.float64, copy=False))
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"ratings must be a sound sparse matrix; got one where {reason}. Build it anew.") from None
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def without_padding(matrix: Any) -> csr_array:
    """A sparse matrix by rows, without the zeros that fill up blocks and diagonals.

    Returns its stored entries; of formats that store whole blocks (BSR) or diagonals (DIA) those that are not zero.
    """
    from scipy import sparse

    rows = sparse.csr_array(matrix)
    if is_padded(matrix):
        rows = rows.copy()
        rows.eliminate_zeros()
    return rows


def is_padded(matrix: Any) -> bool:
    """Whether the format of a sparse matrix stores zeros that fill it up: blocks of several entries, and diagonals."""
    return bool(matrix.format == "dia" or (matrix.format == "bsr" and matrix.blocksize != (1, 1)))


def checked_ratings(ratings: Any, *, narrow: bool = False) -> Any:
    """R as (m, n) float64, dense or compressed by rows, once it is known to be a finite matrix of numbers.

    ``narrow``: float32 where it is exact, as `as_matrix` has it.

    A sparse one then holds each place once: entries of one place are summed, as scipy reads them.
    """
    matrix = as_matrix(ratings, narrow=narrow)
    if min(matrix.shape) == 0:
        raise UsageError(
            f"ratings must be a matrix with rows and columns; got shape {matrix.shape}. Pass an (m, n) matrix."
        )
    require_finite_ratings(matrix)
    return matrix


def require_finite_ratings(matrix: Any) -> None:
    """Raise `UsageError` with the place of a value that is not finite, in an array or a csr array."""
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    if np.isfinite(values).all():
        return
    place = int(np.flatnonzero(~np.isfinite(values))[0])
    if isinstance(matrix, np.ndarray):
        row, column = divmod(place, matrix.shape[1])
    else:
        row, column = int(np.searchsorted(matrix.indptr, place, side="right")) - 1, matrix.indices[place]
    raise UsageError(
        f"ratings must be finite; got {values.ravel()[place]} at row {row}, column {column}. "
        "Correct it, or leave it out (as in np.ma.masked_invalid)."
    )


def require_factorable(largest: float, squared_norm: float) -> None:
    """Refuse a matrix that is all zero, or has a squared norm outside of the range of float64."""
    if largest == 0:
        raise UsageError("ratings must not all be zero; got a zero matrix. Check the input and its weighting.")
    if not np.finfo(np.float64).tiny <= squared_norm < np.inf:
        raise UsageError(
            "ratings must have squares that are finite and not zero in float64; "
            f"got entries up to {largest:.0e}. Multiply the input by a constant."
        )


def sound_row(ratings: Any, columns: int) -> tuple[NDArray[np.int32], NDArray[np.float64]] | None:
    """Columns and values of one user's compressed row, if nothing is wrong with it: a tenth of `rating_matrix`' time.

    Returns columns, values (entries,) each, copies; or None for ratings that must be repaired or refused, or are not
    one compressed row.
    """
    if getattr(ratings, "format", None) != "csr" or ratings.shape != (1, columns):
        return None
    pointers, indices, values = ratings.indptr, ratings.indices, ratings.data
    count = indices.size
    if values.dtype.kind not in "biuf" or values.size != count or count == 0 or pointers.tolist() != [0, count]:
        return None
    if indices[0] < 0 or indices[-1] >= columns or not (indices[1:] > indices[:-1]).all():
        return None
    plain = np.array(values, dtype=np.float64)
    return (np.array(indices, dtype=np.int32), plain) if np.isfinite(plain).all() else None


def rating_matrix(ratings: Any, dtype: Any, *, columns: int | None = None, empty: bool = False) -> csr_array:
    """A csr matrix in canonical form with int64 row pointers and int32 columns.

    ``ratings``: (m, n), as for `as_matrix`.
    """
    from scipy import sparse

    given = as_matrix(ratings)
    matrix = sparse.csr_array(given)
    if matrix.nnz == 0 and not empty:
        raise UsageError(f"ratings must have at least one entry; got an empty {matrix.shape} matrix. Check the input.")
    if columns is not None and matrix.shape[1] != columns:
        raise UsageError(f"ratings must have one column per item, {columns}; got {matrix.shape[1]}. Pad or cut them.")
    require_finite_ratings(matrix)
    with np.errstate(over="ignore"):
        values = matrix.data.astype(dtype)
    if not np.isfinite(values).all():
        raise UsageError(
            f"ratings must be finite in {values.dtype}; got {np.abs(matrix.data).max()}. Scale them or use float64."
        )
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    clean = sparse.csr_array((values, indices, indptr), shape=matrix.shape, copy=False)
    # scipy narrows the pointers; compiled loops want one type of them, not two
    clean.indptr, clean.indices = indptr, indices
    return clean


def weights_of(weights: Any, matrix: csr_array) -> NDArray[np.float64]:
    """The weights of the stored entries of a canonical csr matrix, (entries,), from a matrix of weights, (m, n).

    Raises UsageError for weights of another shape, without one for an entry, negative, or not finite.
    """
    from scipy import sparse

    if np.shape(weights) != matrix.shape:
        raise UsageError(f"weights must be of the ratings' shape {matrix.shape}; got {np.shape(weights)}.")
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    if sparse.issparse(weights):
        given = sparse.csr_array(weights)
        given.sum_duplicates()
        owners = np.repeat(np.arange(matrix.shape[0]), np.diff(given.indptr))
        keys, wanted = (r * matrix.shape[1] + one.indices for r, one in ((owners, given), (rows, matrix)))
        places = np.searchsorted(keys, wanted)
        if not keys.size or not (keys[np.minimum(places, keys.size - 1)] == wanted).all():
            raise UsageError("weights must have an entry for each rating; got fewer. Store the zeros too.")
        found = given.data[places]
    else:
        found = np.asarray(weights)[rows, matrix.indices]
    if found.dtype.kind not in "biuf" or not np.isfinite(found).all() or found.min(initial=0) < 0:
        raise UsageError("weights must be finite and 0 or more: below 0 the loss is not convex; got others.")
    return np.asarray(found, dtype=np.float64)


def row_block(matrix: csr_array, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
    """Values, columns and row ends of some rows of a matrix, (m, n), as they are stored; a row -1 at the end is empty.

    ``rows``: (k,). Returns (entries,), (entries,) and (k + 1,).
    """
    block = matrix[rows[rows >= 0]]
    if max(block.nnz, block.shape[1]) >= 2**31:
        raise UsageError(
            f"a block of sparse rows must have fewer than 2^31 entries and columns; got {block.nnz} and "
            f"{block.shape[1]}. Add workers or lower copies."
        )
    ends = np.concatenate((block.indptr, np.full(rows.size - block.shape[0], block.nnz)))
    return block.data, block.indices.astype(np.int32, copy=False), ends.astype(np.int32)
