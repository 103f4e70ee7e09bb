"""Early stopping: a callback that ends a fit when a validation part gets no better, and keeps the best state."""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.checks import require_one_of, require_whole
from coded_als.data.ratings import RatingData, from_matrix
from coded_als.evaluation.search import ERRORS, LISTS, Metric, figure_of
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import as_matrix


class EarlyStopping:
    """End a fit when a metric on a validation part has not become better for some iterations, and keep the best state.

    A callback of ``fit``, for one fit at a time. After the fit the model holds the factors of the best iteration;
    ``history_`` keeps all.

    Parameters
    ----------
    validation
        Ratings that the fit does not see: the result of `coded_als.data.load_ratings` or of a split, or a matrix for a
        model without ids.
    metric
        ``"ndcg"``, ``"recall"``, ``"precision"``, ``"hit_rate"``, ``"map"``, ``"mrr"`` or ``"coverage"`` of the lists, or
        the errors ``"rmse"`` and ``"mae"``.
    k
        Length of the lists.
    patience
        Iterations without a better figure after which the fit ends.

    Attributes
    ----------
    figures
        The metric after each iteration.
    best_iteration
        The iteration of the best figure, from 1; None before the first.
    best
        The best figure.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import RidgeALS
    >>> from coded_als.data import holdout, load_ratings
    >>> train, validation = holdout(load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1"))
    >>> stop = EarlyStopping(validation, metric="rmse", patience=2)
    >>> model = RidgeALS(4, iterations=50, regularization=0.1).fit(train, callback=stop)
    >>> stop.best_iteration == 1 + int(np.argmin(stop.figures))
    True
    """

    def __init__(self, validation: Any, metric: Metric = "ndcg", k: int = 10, patience: int = 3) -> None:
        require_one_of("metric", metric, (*LISTS, *ERRORS))
        require_whole("k", k, 1)
        require_whole("patience", patience, 1)
        if not isinstance(validation, RatingData):
            validation = from_matrix(as_matrix(validation), "the validation part")
        self.validation: RatingData = validation
        self.metric, self.k, self.patience = metric, k, patience
        self._begin()

    def _begin(self) -> None:
        self.figures: list[float] = []
        self.best_iteration: int | None = None
        self._best: tuple[Any, Any] = (None, None)

    def __call__(self, entry: Any, model: FactorModel) -> bool:
        """Whether the fit is to end after this iteration."""
        if entry.index == 1:
            self._begin()
        is_error = self.metric in ERRORS
        self.figures.append(figure_of(model, self.validation, self.metric, self.k))
        # of equal ones the first
        best = int(np.argmin(self.figures) if is_error else np.argmax(self.figures))
        if best == len(self.figures) - 1:
            self.best_iteration, self.best, self._best = entry.index, self.figures[best], model._standing()
        return len(self.figures) - 1 - best >= self.patience

    def conclude(self, model: FactorModel) -> None:
        """Give the model the factors of the best iteration."""
        if self.best_iteration is not None and self.best_iteration < model.history_[-1].index:
            model._return_to(*self._best)
        self._best = (None, None)
