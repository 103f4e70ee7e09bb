"""The models as scikit-learn estimators (`pip install 'coded-als[sklearn]'`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.factor_model import NewUsers
from coded_als.models.registry import MODEL_HOMES, model_class

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError:
    raise UsageError(
        "coded_als.sklearn needs scikit-learn; it is not installed. Run pip install 'coded-als[sklearn]'."
    ) from None


class Factorization(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Any model of this package in a scikit-learn pipeline or search: rows are users, columns are items.

    Parameters
    ----------
    method
        ``"coded"``, ``"ridge"``, ``"implicit"``, ``"sgd"``, ``"bpr"`` or ``"warp"``.
    rank
        Columns of both factors.
    regularization
        None keeps the method's own default.
    seed
        Seed of the fit.
    parameters
        Further parameters of the model's class.

    Attributes
    ----------
    model_
        The fitted model.
    components_
        Item factors, transposed, (rank, n).

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als.sklearn import Factorization
    >>> ratings = np.outer([1.0, 2.0, 3.0], [1.0, 0.0, 1.0, 2.0])
    >>> users = Factorization(rank=1).fit_transform(ratings)
    >>> users.shape
    (3, 1)
    """

    def __init__(
        self,
        method: str = "coded",
        rank: int = 20,
        regularization: float | None = None,
        seed: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.method, self.rank, self.regularization = method, rank, regularization
        self.seed, self.parameters = seed, parameters

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model on (m, n) ratings, dense or sparse; ``y`` is ignored."""
        if self.method not in MODEL_HOMES:
            raise UsageError(f"method must be one of {', '.join(MODEL_HOMES)}; got {self.method!r}. Choose one.")
        given = {"rank": self.rank, "seed": self.seed, **(self.parameters or {})}
        if self.regularization is not None:
            given["regularization"] = self.regularization
        model: Any = model_class(self.method)(**given)
        self.model_ = model.fit(X)
        self.n_features_in_ = self.model_.item_factors_.shape[0]
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """User factors of the rows of (k, n), with the items held fixed: (k, rank)."""
        return np.asarray(self.model_.fold_in(X).factors, dtype=np.float64)

    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Scores of all items for user factors (k, rank): (k, n)."""
        scores: NDArray[np.float64] = self.model_.score_new(NewUsers(np.asarray(X)))
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the root mean squared error on the nonzero entries of (k, n), the rows folded in."""
        scores = self.model_.score_new(self.model_.fold_in(X))
        rows, columns = X.nonzero()
        return -float(np.sqrt(np.mean((scores[rows, columns] - np.asarray(X[rows, columns]).ravel()) ** 2)))

    @property
    def components_(self) -> NDArray[np.float64]:
        """Item factors, transposed, (rank, n)."""
        return np.asarray(self.model_.item_factors_.T)
