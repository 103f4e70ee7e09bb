"""Test ratings that a model knows the user and the item of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ratings import RatingData


def trained_on(model: FactorModel, test: RatingData) -> int:
    """How many of the test ratings the model was trained on, which makes errors too small and lists too short.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings; matched by their original ids.

    Raises
    ------
    UsageError
        When the model knows no pair of the test part.
    """
    rows, columns, _ = known_triples(model, test)
    if model.seen_ is None:
        return int(rows.size)
    both = model.seen_.multiply(pattern_of(rows, columns, model.seen_.shape))
    return int(both.nnz)


def known_triples(model: FactorModel, test: RatingData) -> tuple[Integers, Integers, Floats]:
    """Rows, columns and ratings, in the model's numbering, of the test ratings that it has both parts of.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings; matched by their original ids.

    Returns
    -------
    Each (known,).

    Raises
    ------
    UsageError
        When the model knows no pair.
    """
    rows, columns, values = test.triples()
    rows, columns = model.user_rows(test.user_ids)[rows], model.item_columns(test.item_ids)[columns]
    known = (rows >= 0) & (columns >= 0)
    if not known.any():
        raise UsageError(
            f"the test part must share users and items with the training part; {test.source} shares none. Check the ids."
        )
    return rows[known], columns[known], values[known]


def pattern_of(rows: Integers, columns: Integers, shape: tuple[int, int]) -> csr_array:
    """A sparse matrix with ones at some places.

    Parameters
    ----------
    rows, columns
        The places, (entries,) each.
    shape
        Of the matrix.

    Returns
    -------
    csr of the given shape.
    """
    from scipy.sparse import csr_array

    return csr_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=shape)
