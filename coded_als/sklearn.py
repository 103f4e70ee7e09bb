"""The models as scikit-learn estimators (`pip install 'coded-als[sklearn]'`), and scores for their searches."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import seed_of_state
from coded_als.errors import UsageError
from coded_als.evaluation.strong import held_out_auc, held_out_rmse
from coded_als.models.rating_matrix import as_matrix
from coded_als.models.recommending import NewUsers
from coded_als.models.registry import is_known, model_class, model_kinds

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise UsageError(
        "coded_als.sklearn needs scikit-learn 1.6 or later; it is not installed. Run pip install 'coded-als[sklearn]'."
    ) from None

# methods that order items by scores on no scale
RANKING = frozenset({"implicit", "bpr", "warp"})


class Factorization(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Any model of this package in a scikit-learn pipeline or search: rows are users, columns are items.

    ``X`` is (users, items), dense (zeros are missing), masked, or sparse of any format.

    Parameters
    ----------
    method
        ``"coded"``, ``"ridge"``, ``"implicit"``, ``"sgd"``, ``"bpr"`` or ``"warp"``.
    rank
        Columns of both factors.
    regularization
        None keeps the method's own default.
    random_state
        Seed of the fit, or a source of random numbers by scikit-learn's rules; None for its global one.
    parameters
        Further parameters of the model's class.

    Attributes
    ----------
    model_
        The fitted model.
    components_
        Item factors, transposed, (rank, n).
    n_features_in_
        Items n.

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
        random_state: int | np.random.RandomState | None = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.method, self.rank, self.regularization = method, rank, regularization
        self.random_state, self.parameters = random_state, parameters

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model on (m, n) ratings; ``y`` is ignored."""
        if not isinstance(self.method, str) or not is_known(self.method):
            raise UsageError(f"method must be one of {', '.join(model_kinds())}; got {self.method!r}.")
        given = {"rank": self.rank, "seed": seed_of_state(self.random_state), **(self.parameters or {})}
        if self.regularization is not None:
            given["regularization"] = self.regularization
        model: Any = model_class(self.method)(**given)
        # the rank of a coded factorization is at most the smaller side: scikit-learn's own words for it
        least = self.rank if self.method == "coded" and isinstance(self.rank, Integral) else 1
        self.model_ = model.fit(self._validated(X, reset=True, least=int(least)))
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """The factors of the users in the rows of (k, n), with the items held fixed.

        Returns
        -------
        (k, rank) factors; (k, rank + 1), the user's bias last, where the model has biases of users.
        """
        ratings = self._validated(X)
        users = self.model_.fold_in(ratings)
        columns = users.factors if users.biases is None else np.column_stack((users.factors, users.biases))
        return np.asarray(columns, dtype=np.float64)

    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Scores of all items, (k, n), for the result of `transform`."""
        check_is_fitted(self)
        columns = np.asarray(X, dtype=np.float64)
        if columns.ndim != 2 or columns.shape[1] != self._n_features_out:
            raise UsageError(
                f"X must be (k, {self._n_features_out}); got {columns.shape}. Pass the result of transform."
            )
        biases = columns[:, self.model_.rank] if self._has_biases else None
        scores: NDArray[np.float64] = self.model_.score_new(NewUsers(columns[:, : self.model_.rank], biases))
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """How well a part of each row, left out, follows from the rest of it; higher is better.

        `rating_score` for methods that predict ratings, `ranking_score` for `implicit`, `bpr` and `warp`. Either may
        be passed as ``scoring=`` to a search.

        ``X``: ratings, (m, n), dense or sparse.
        """
        return ranking_score(self, X) if self.method in RANKING else rating_score(self, X)

    @property
    def components_(self) -> NDArray[np.float64]:
        """Item factors, transposed, (rank, n)."""
        return np.asarray(self.model_.item_factors_.T)

    @property
    def _has_biases(self) -> bool:
        return self.model_.user_biases_ is not None

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.rank) + self._has_biases

    def _validated(self, X: Any, *, reset: bool = False, least: int = 1) -> Any:
        """The ratings as a finite float64 array or csr array; scikit-learn would drop a mask."""
        if not reset:
            check_is_fitted(self)
        given = as_matrix(X) if isinstance(X, np.ma.MaskedArray) else X
        sizes = {"ensure_min_samples": least, "ensure_min_features": least} if least > 1 else {}
        return validate_data(self, given, reset=reset, accept_sparse="csr", dtype=np.float64, **sizes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def rating_score(estimator: Factorization, X: Any, y: Any = None) -> float:
    """Minus `held_out_rmse` of the rows of (k, n), for ``scoring=``; ``y`` is ignored.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from coded_als.sklearn import Factorization, rating_score
    >>> ratings = np.outer(np.arange(1.0, 13), np.arange(1.0, 7))
    >>> cross_val_score(Factorization(rank=1), ratings, scoring=rating_score, cv=3).shape
    (3,)
    """
    ratings = estimator._validated(X)
    return -held_out_rmse(estimator.model_, ratings)


def ranking_score(estimator: Factorization, X: Any, y: Any = None) -> float:
    """`held_out_auc` of the rows of (k, n), for ``scoring=``; ``y`` is ignored.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from coded_als.sklearn import Factorization, ranking_score
    >>> ratings = (np.random.default_rng(0).random((12, 8)) < 0.5).astype(float)
    >>> cross_val_score(Factorization(rank=1), ratings, scoring=ranking_score, cv=3).shape
    (3,)
    """
    ratings = estimator._validated(X)
    return held_out_auc(estimator.model_, ratings)
