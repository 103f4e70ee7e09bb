"""Readers, synthetic problems and splits."""

from __future__ import annotations

from coded_als.data.load import load_ratings
from coded_als.data.ncf import NCFBenchmark, load_ncf
from coded_als.data.ratings import RatingData
from coded_als.data.splits import holdout, holdout_users, k_fold, leave_k_out, leave_one_out

__all__ = [
    "NCFBenchmark",
    "RatingData",
    "holdout",
    "holdout_users",
    "k_fold",
    "leave_k_out",
    "leave_one_out",
    "load_ncf",
    "load_ratings",
]
