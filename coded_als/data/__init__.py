"""Readers, synthetic problems and splits."""

from __future__ import annotations

from coded_als.data.load import load_ratings
from coded_als.data.ratings import RatingData

__all__ = ["RatingData", "load_ratings"]
