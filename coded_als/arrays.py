"""Types of arrays, and facts about their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# type of the coded arithmetic
Array = NDArray[np.float64]
# type of the arrays that the models keep: float64 or float32
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
# columns and ends of sparse rows
Places = NDArray[np.int32]
Shape = tuple[int, ...]

FLOAT64: np.dtype[Any] = np.dtype(np.float64)
SINGLE: np.dtype[Any] = np.dtype(np.float32)
FLOAT_BYTES = FLOAT64.itemsize
EPS = float(np.finfo(np.float64).eps)


def eps_of(dtype: np.dtype[Any]) -> float:
    """The relative rounding of a type."""
    return float(np.finfo(dtype).eps)
