"""The entrance of every fit: matrices as they are, tables and ratings that were read as a matrix and its ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coded_als.data.lazy_frames import collected, is_lazy
from coded_als.data.ratings import RatingData
from coded_als.data.tables import from_table
from coded_als.errors import UsageError
from coded_als.models.ids import Ids
from coded_als.models.rating_matrix import is_table


def named_matrix(ratings: Any, columns: Sequence[Any] | None) -> tuple[Any, tuple[Ids, Ids] | None]:
    """A rating matrix and the ids of its rows and columns.

    Parameters
    ----------
    ratings
        A matrix, a table, or `RatingData`.
    columns
        The names of the columns of a table, and None for all else.

    Returns
    -------
    matrix, ids
        (m, n) as a model learns from it, and ids, (m,) of users and (n,) of items, or None for 0, 1, 2, ...

    Raises
    ------
    UsageError
        For a table without columns or columns without a table, and where `from_table` does.
    """
    if is_lazy(ratings):
        ratings = collected(ratings, columns)
    if is_table(ratings):
        data = from_table(ratings, columns)
        return data.matrix, (data.user_ids, data.item_ids)
    if columns is not None:
        raise UsageError(
            f"columns are names of columns of a table; got {columns!r} for a {type(ratings).__name__}. Leave them out."
        )
    if isinstance(ratings, RatingData):
        return ratings.matrix, (ratings.user_ids, ratings.item_ids)
    return ratings, None
