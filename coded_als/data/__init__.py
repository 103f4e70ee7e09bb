"""Readers, synthetic problems and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

# Loaded on first use: every model imports this package, and most are fitted to a matrix in memory, without a reader.
_HOMES = {
    "coded_als.data.load": "load_ratings",
    "coded_als.data.ratings": "RatingData",
    "coded_als.data.splits": "holdout holdout_users k_fold leave_k_out leave_one_out",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.data.load import load_ratings as load_ratings
    from coded_als.data.ratings import RatingData as RatingData
    from coded_als.data.splits import (
        holdout as holdout,
        holdout_users as holdout_users,
        k_fold as k_fold,
        leave_k_out as leave_k_out,
        leave_one_out as leave_one_out,
    )


__getattr__ = lazily(__name__, _HOMES)
