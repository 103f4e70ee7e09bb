"""Readers, synthetic problems and splits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Loaded on first use: every model knows this room, and most are fitted to a matrix that nobody had to read.
_HOMES = {
    "RatingData": "ratings",
    "holdout": "splits",
    "holdout_users": "splits",
    "k_fold": "splits",
    "leave_k_out": "splits",
    "leave_one_out": "splits",
    "load_ratings": "load",
}
__all__ = [
    "RatingData",
    "holdout",
    "holdout_users",
    "k_fold",
    "leave_k_out",
    "leave_one_out",
    "load_ratings",
]

if TYPE_CHECKING:
    from coded_als.data.load import load_ratings
    from coded_als.data.ratings import RatingData
    from coded_als.data.splits import holdout, holdout_users, k_fold, leave_k_out, leave_one_out


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
