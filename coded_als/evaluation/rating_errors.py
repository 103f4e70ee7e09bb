"""Errors of predicted ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coded_als.evaluation.known import known_triples
from coded_als.evaluation.metrics import (
    mae,
    rmse,
)
from coded_als.models.factor_model import FactorModel

if TYPE_CHECKING:
    from coded_als.data.ratings import RatingData


@dataclass(frozen=True)
class RatingErrors:
    """Errors on the test ratings whose user and item the model knows.

    Parameters
    ----------
    rmse, mae
        Over ``ratings`` of them.
    unknown
        Test ratings left out: their user or item was not in training.
    """

    rmse: float
    mae: float
    ratings: int
    unknown: int


def evaluate_ratings(
    model: FactorModel, test: RatingData, *, limits: tuple[float, float] | None = None
) -> RatingErrors:
    """Predict the test ratings; users and items are matched by their original ids.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings.
    limits
        The scale's least and largest rating, to which predictions are clipped.

    Raises
    ------
    UsageError
        When the model knows no pair of the test part.
    """
    rows, columns, actual = known_triples(model, test)
    predicted = model.predict_pairs(rows, columns)
    if limits is not None:
        predicted = np.clip(predicted, *limits)
    unknown = test.entries - actual.size
    return RatingErrors(rmse(predicted, actual), mae(predicted, actual), actual.size, unknown)
