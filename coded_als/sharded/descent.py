"""The descent that ALS promises, as far as float32 can keep to it."""

from __future__ import annotations

import numpy as np

from coded_als.errors import UsageError

# What an objective may seem to rise by in an epoch: a part of itself, and a hundredth of that part of the squares it is
# a difference of.
_ROUNDING = {"float32": 1e-3, "bfloat16": 1e-2}


def descended(objective: float, earlier: float, squares: float, table_dtype: str) -> float:
    """An objective, which but for rounding no epoch makes larger.

    Parameters
    ----------
    objective, earlier
        After this epoch and after the one before; infinite where there was none.
    squares
        Of what entries should score, summed up.
    table_dtype
        ``float32`` or ``bfloat16``.

    Raises
    ------
    UsageError
        When it is not finite, or has risen.
    """
    if not np.isfinite(objective):
        raise UsageError(
            "ratings and regularization must be of a size that float32 can square; got a fit that overflows. Scale them."
        )
    if objective > earlier + _ROUNDING[table_dtype] * (earlier + squares / 100):
        raise UsageError(
            "regularization must be so large that float32 can solve for the rows; "
            f"got an objective that rose by {objective / earlier - 1:.1%} in an epoch. "
            "Raise it, or use RidgeALS or ImplicitALS with dtype='float64'."
        )
    return objective
