"""Readers of matrices in files: Matrix Market, and those of NumPy and SciPy, never a pickle.

SciPy reads Matrix Market, but a file can end its process: `scipy.io.mmread` of SciPy 1.17 reads beyond its buffer (a
segmentation fault) where the last line is an entry such as ``4 2 -7j`` without a newline.
Format: Boisvert, Pozo and Remington, "The Matrix Market Exchange Formats" (1996).
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Integers
from coded_als.data.fields import split_fields
from coded_als.data.lines import WHITESPACE, Lines, one_byte
from coded_als.data.ratings import RatingData, csr_from_sorted, from_matrix
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import is_padded, without_padding

_MIRRORED = {"symmetric": 1.0, "skew-symmetric": -1.0}


@dataclass(frozen=True)
class _Header:
    source: str
    layout: str
    field: str
    symmetry: str
    sizes: tuple[int, ...]
    last_line: int


def read_mtx(path: Path) -> RatingData:
    """A sparse or dense real matrix from a Matrix Market file, which may be compressed (``.mtx.gz``).

    Entries of a pattern are 1; a symmetric matrix is completed.

    Raises UsageError for a header or a line that does not fit, with its number; for complex numbers and dense
    symmetric matrices.
    """
    lines = Lines(path)
    header = _read_header(lines, path.name)
    _require_memory(header)
    if header.layout == "array":
        values, numbers = _columns(lines, header, 1)
        _require_count(numbers, header.sizes[0] * header.sizes[1], header)
        return from_matrix(np.ascontiguousarray(values[:, 0].reshape(header.sizes[::-1]).T), path.name)
    columns, numbers = _columns(lines, header, 2 if header.field == "pattern" else 3)
    _require_count(numbers, header.sizes[2], header)
    rows_columns = _places(columns[:, :2], numbers, header)
    values = np.ones(len(numbers)) if header.field == "pattern" else columns[:, 2]
    return _assemble(rows_columns, values, numbers, header)


def _read_header(lines: Lines, source: str) -> _Header:
    numbered = lines.numbered()
    _, banner = next(numbered, (1, b""))
    words = banner.decode("ascii", "replace").lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise UsageError(
            f"a .mtx file must begin with `%%MatrixMarket matrix ...`; {source} does not. Save it with scipy.io.mmwrite."
        )
    layout, field, symmetry = words[2:]
    known = (
        layout in ("coordinate", "array")
        and field in ("real", "double", "integer", "pattern")
        and (symmetry == "general" or (symmetry in _MIRRORED and layout == "coordinate"))
    )
    if not known:
        raise UsageError(
            f"a .mtx file must hold a real, integer or pattern matrix, sparse or dense and general; "
            f"{source} says {' '.join(map(ascii, words[2:]))}. Convert it."
        )
    number, line = next((numbered_line for numbered_line in numbered if numbered_line[1][:1] != b"%"), (2, b""))
    sizes = tuple(int(word) for word in line.split() if word.isdigit() and len(word) < 19)
    wanted = 3 if layout == "coordinate" else 2
    if len(sizes) != wanted or len(line.split()) != wanted or sizes[0] * sizes[1] >= 2**63:
        raise UsageError(
            f"a .mtx file must give {wanted} sizes after its comments; got {line[:60].decode('ascii', 'replace')!a} "
            f"in line {number} of {source}. Save it again."
        )
    return _Header(source, layout, field, symmetry, sizes, number)


def _require_memory(header: _Header) -> None:
    """Refuse a matrix before the memory is full, if its rows, columns or dense values alone exceed it."""
    rows, columns = header.sizes[:2]
    dense = header.layout == "array"
    needed = 8 * rows * columns if dense else 8 * (2 * rows + columns) + 24 * header.sizes[2]
    if needed > (most := memory_limit()):
        raise UsageError(
            f"ratings must fit into memory; a matrix of {rows} x {columns} as in {header.source} takes {needed / 1e9:.0f} GB, "
            f"and there are {most / 1e9:.0f}. Number its users and items from 1, without gaps."
        )


def memory_limit() -> int:
    """The bytes that this process may have: those of the machine, or the least of the limits set for it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(ImportError):  # not everywhere
        import resource

        limits += [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return min(limits)


def _columns(lines: Lines, header: _Header, count: int) -> tuple[NDArray[np.float64], Integers]:
    values, numbers = [np.empty((0, count))], [np.empty(0, dtype=np.int64)]
    for first_line, text in lines.chunks(after_line=header.last_line):
        fields = split_fields(header.source, *one_byte(text, WHITESPACE), count, first_line)
        values.append(np.hstack([fields.numbers(slice(column, column + 1)) for column in range(count)]))
        numbers.append(fields.line_numbers)
    return np.concatenate(values), np.concatenate(numbers)


def _require_count(numbers: Integers, count: int, header: _Header) -> None:
    if len(numbers) != count:
        raise UsageError(
            f"a .mtx file must have as many entries as its header says, {count}; {header.source} has {len(numbers)}. "
            "Save it again."
        )


def _places(given: NDArray[np.float64], numbers: Integers, header: _Header) -> Integers:
    """Rows and columns from 0, (entries, 2)."""
    outside = (given < 1) | (given > np.array(header.sizes[:2])) | (given != np.floor(given))
    wrong = np.flatnonzero(outside.any(axis=1))
    if wrong.size:
        row, column = given[wrong[0]]
        raise UsageError(
            f"places must be within 1 to {header.sizes[0]} and 1 to {header.sizes[1]}; got {row:g} {column:g} in line "
            f"{numbers[wrong[0]]} of {header.source}. Correct the line."
        )
    return given.astype(np.int64) - 1


def _assemble(places: Integers, values: NDArray[np.float64], numbers: Integers, header: _Header) -> RatingData:
    rows, columns = places[:, 0], places[:, 1]
    shape = header.sizes[0], header.sizes[1]
    if header.symmetry in _MIRRORED:
        if shape[0] != shape[1]:
            raise UsageError(
                f"a symmetric matrix must be square; {header.source} is {shape[0]} x {shape[1]}. Save it again."
            )
        off = rows != columns
        rows, columns = np.concatenate((rows, columns[off])), np.concatenate((columns, rows[off]))
        values = np.concatenate((values, _MIRRORED[header.symmetry] * values[off]))
        numbers = np.concatenate((numbers, numbers[off]))
    key = rows * shape[1] + columns
    order = np.argsort(key, kind="stable")
    repeated = np.flatnonzero(np.diff(key[order]) == 0)
    if repeated.size:
        first, second = numbers[order[repeated[0]]], numbers[order[repeated[0] + 1]]
        raise UsageError(
            f"a user must rate an item once; {header.source} has the same place in lines {first} and {second}. Remove one."
        )
    return from_matrix(csr_from_sorted(rows[order], columns[order], values[order], shape), header.source)


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
