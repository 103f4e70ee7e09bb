"""Readers of matrices in files of NumPy and SciPy; never a pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.data.ratings import RatingData, from_matrix
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import is_padded, without_padding

NPY_MAGIC = b"\x93NUMPY"


def read_npy(path: Path) -> RatingData:
    """A dense matrix from a .npy file; zeros are missing.

    Raises UsageError for a damaged file, an array of objects, or one that is not a matrix of real numbers.
    """
    try:
        with path.open("rb") as file:
            # NumPy would take an archive for several arrays, and leave a damaged one open
            if file.read(len(NPY_MAGIC)) != NPY_MAGIC:
                raise ValueError("it is not a file of one NumPy array")
        # mapped first: a damaged header may ask for more memory than there is, a map cannot exceed the file
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, ".npy", error) from None
    return from_matrix(_real(matrix, path), path.name)


def read_npz(path: Path) -> RatingData:
    """A sparse matrix from a .npz file written by `scipy.sparse.save_npz`; stored zeros stay ratings.

    Zeros in blocks and diagonals (BSR and DIA) are missing: they fill these up.

    Raises UsageError for a damaged file, another archive, one with pickles, or a matrix that is not real.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning by SciPy, such as of fractional indices, means damage
            stored = sparse.load_npz(file)
        checked = getattr(stored, "check_format", None)
        if checked is not None:  # an index out of range would otherwise be an access out of bounds later
            checked(full_check=True)
    except Exception as error:
        raise _unreadable(path, ".npz", error) from None
    return _from_sparse(stored, path)


def _from_sparse(stored: Any, path: Path) -> RatingData:
    _require_matrix(stored.ndim, stored.dtype, path)
    try:
        matrix = without_padding(stored)
        entries = matrix.nnz
        matrix.sum_duplicates()
        matrix.sort_indices()
    except Exception as error:
        raise _unreadable(path, ".npz", error) from None
    if entries != matrix.nnz or not (is_padded(stored) or stored.nnz == entries):
        raise UsageError(
            f"a user must rate an item once; {path.name} has several values for one place in the matrix. Merge them."
        )
    return from_matrix(matrix.astype(np.float64), path.name)


def _real(matrix: NDArray[Any], path: Path) -> NDArray[np.float64]:
    _require_matrix(matrix.ndim, matrix.dtype, path)
    try:
        return np.array(matrix, dtype=np.float64, order="C")
    except MemoryError as error:
        raise _unreadable(path, "matrix", error) from None


def _require_matrix(dimensions: int, dtype: np.dtype[Any], path: Path) -> None:
    if dimensions != 2:
        raise UsageError(
            f"ratings must be a matrix of two dimensions; {path.name} has {dimensions}. Save users as rows, items as columns."
        )
    if dtype.kind not in "fiub":
        raise UsageError(f"ratings must be real numbers; {path.name} holds {dtype}. Convert them to float64.")


def _unreadable(path: Path, suffix: str, error: Exception) -> UsageError:
    # libraries put several lines and their own advice (such as to allow pickles) into a message
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    if "allow_pickle" in reason or "pickle" in reason:
        reason = "it holds Python objects or is not such a file"
    return UsageError(
        f"a {suffix} file must be complete and hold one matrix; got {path.name}: {reason.rstrip('.')}. Save it again."
    )
