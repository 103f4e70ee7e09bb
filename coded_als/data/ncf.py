"""The leave-one-out benchmark of neural collaborative filtering: one positive among given negatives.

He et al., "Neural Collaborative Filtering", WWW 2017, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.data.ratings import RatingData, csr_from_sorted, from_matrix
from coded_als.errors import UsageError

_NAMES = ("train_user", "train_item", "test_user", "test_item", "negatives")


@dataclass(frozen=True, eq=False)
class NCFBenchmark:
    """Training interactions, and for every case the item that was left out and items never touched.

    Parameters
    ----------
    train
        (m, n) sparse, 1 for each interaction.
    test_users, test_items
        (cases,) rows and columns.
    negatives
        (cases, negatives) columns.
    """

    train: RatingData
    test_users: NDArray[np.int64]
    test_items: NDArray[np.int64]
    negatives: NDArray[np.int64]


def load_ncf(path: str | Path) -> NCFBenchmark:
    """Read the benchmark from a .npz with the arrays train_user, train_item, test_user, test_item and negatives.

    Repeated training interactions count once.

    Raises
    ------
    UsageError
        For a damaged file, a missing array, or shapes or numbers that do not fit together.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _NAMES if name in archive.files}
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        reason = getattr(error, "strerror", None) or "it is damaged or not a .npz"
        raise UsageError(f"the benchmark must be a readable .npz file; got {path}: {reason}. Check the path.") from None
    _check(arrays, path)
    users, items, test_users, test_items, negatives = (arrays[name].astype(np.int64) for name in _NAMES)
    shape = (1 + max(users.max(), test_users.max()), 1 + max(items.max(), test_items.max(), negatives.max()))
    rows, columns = np.divmod(np.unique(users * shape[1] + items), shape[1])
    train = from_matrix(csr_from_sorted(rows, columns, np.ones(rows.size), shape), Path(path).name)
    return NCFBenchmark(train, test_users, test_items, negatives)


def _check(arrays: dict[str, NDArray[Any]], path: str | Path) -> None:
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise UsageError(f"the benchmark must hold {', '.join(_NAMES)}; {path} lacks {missing[0]}. Check the file.")
    shapes = {name: array.shape for name, array in arrays.items()}
    cases = shapes["test_user"]
    consistent = (
        shapes["train_user"] == shapes["train_item"]
        and shapes["test_item"] == cases
        and len(cases) == len(shapes["train_user"]) == 1
        and len(shapes["negatives"]) == 2
        and shapes["negatives"][:1] == cases
    )
    if not consistent or not all(array.size for array in arrays.values()):
        raise UsageError(f"the benchmark's arrays must belong together; {path} has shapes {shapes}. Check the file.")
    for name, array in arrays.items():
        # int32 bounds keep the matrix's shape, and row * columns + column, within int64
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**31 - 1:
            raise UsageError(f"{name} must hold row or column numbers from 0; {path} does not. Check the file.")
