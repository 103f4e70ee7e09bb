"""Scores of users and items: two factor matrices, perhaps biases, a mean, and original ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.checks import require_finite
from coded_als.errors import UsageError
from coded_als.models.ids import Id, IdLookup, Ids, as_ids

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Scoring:
    """Scores are ``global_mean_ + user_biases_[u] + item_biases_[i] + user_factors_[u] @ item_factors_[i]``."""

    user_factors_: Floats
    item_factors_: Floats
    user_biases_: Floats | None = None
    item_biases_: Floats | None = None
    global_mean_: float = 0.0
    user_ids: Ids
    item_ids: Ids
    seen_: csr_array | None = None

    def _keep(
        self,
        user_factors: Floats,
        item_factors: Floats,
        *,
        user_biases: Floats | None = None,
        item_biases: Floats | None = None,
        global_mean: float = 0.0,
        seen: csr_array | None = None,
    ) -> None:
        """Take over the result of a fit, which must be finite; ids start again at 0, 1, 2, ..."""
        require_finite("factors", user_factors, item_factors, user_biases, item_biases, global_mean)
        self.user_factors_, self.item_factors_ = user_factors, item_factors
        self.user_biases_, self.item_biases_, self.global_mean_ = user_biases, item_biases, float(global_mean)
        self.seen_ = seen
        self.set_ids(np.arange(len(user_factors)), np.arange(len(item_factors)))

    def set_ids(self, user_ids: Sequence[Id] | Ids, item_ids: Sequence[Id] | Ids) -> Self:
        """Name the rows and columns by their original ids, and return the model.

        Parameters
        ----------
        user_ids, item_ids
            (m,) and (n,), whole numbers or text.

        Raises
        ------
        UsageError
            When the model is not fitted, there is not one id per row or column, or an id appears twice.
        """
        self._require_fitted()
        self.user_ids = as_ids("user", user_ids, len(self.user_factors_))
        self.item_ids = as_ids("item", item_ids, len(self.item_factors_))
        self._user_lookup, self._item_lookup = IdLookup("user", self.user_ids), IdLookup("item", self.item_ids)
        return self

    def user_rows(self, users: Id | Iterable[Id] | Ids) -> Integers:
        """The rows of users by original id, (users,), -1 for those that the model does not know."""
        self._require_fitted()
        return self._user_lookup.places(users)

    def item_columns(self, items: Id | Iterable[Id] | Ids) -> Integers:
        """The columns of items by original id, (items,), -1 for those that the model does not know."""
        self._require_fitted()
        return self._item_lookup.places(items)

    def predict(self, user: Id, item: Id) -> float:
        """The score of one item for one user.

        Parameters
        ----------
        user, item
            Original ids.

        Raises
        ------
        UsageError
            For an unknown user or item.
        """
        self._require_fitted()
        return float(self.predict_pairs([self._user_lookup.index(user)], [self._item_lookup.index(item)])[0])

    def predict_pairs(self, rows: Sequence[int] | Integers, columns: Sequence[int] | Integers) -> NDArray[np.float64]:
        """The scores of pairs given by row and column.

        Parameters
        ----------
        rows, columns
            (pairs,) each. `user_rows` and `item_columns` give -1 for an unknown id, which has no score: leave such pairs
            out.

        Returns
        -------
        (pairs,)

        Raises
        ------
        UsageError
            Unless there is one column for each row and all are numbers of users and of items.
        """
        self._require_fitted()
        rows, columns = np.asarray(rows), np.asarray(columns)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise UsageError(
                f"pairs must have one column for each row; got shapes {rows.shape} and {columns.shape}. "
                "Pass two lists of one length."
            )
        rows = _places("rows", rows, "users", len(self.user_factors_))
        columns = _places("columns", columns, "items", len(self.item_factors_))
        scores = np.full(len(rows), self.global_mean_)
        # pairs at a time: gathering both factors of millions of pairs at once would take gigabytes
        step = max(1, 2**22 // max(1, self.user_factors_.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            scores[part] += np.einsum(
                "pd,pd->p", self.user_factors_[rows[part]], self.item_factors_[columns[part]], optimize=False
            )
        if self.user_biases_ is not None:
            scores += self.user_biases_[rows]
        if self.item_biases_ is not None:
            scores += self.item_biases_[columns]
        return scores

    def scores(self, row: int) -> NDArray[np.float64]:
        """The scores of all items for the user in this row, (n,), a new array."""
        self._require_fitted()
        _places("rows", np.array([row]), "users", len(self.user_factors_))
        scores = np.asarray(self.item_factors_ @ self.user_factors_[row], dtype=np.float64)
        scores += self.global_mean_ + (0.0 if self.user_biases_ is None else self.user_biases_[row])
        if self.item_biases_ is not None:
            scores += self.item_biases_
        return scores

    def _require_fitted(self) -> None:
        if not hasattr(self, "user_factors_"):
            raise UsageError(f"a model must be fitted before it is used; this {type(self).__name__} is not. Call fit.")

    def _seen_columns(self, row: int) -> NDArray[Any] | None:
        if self.seen_ is None:
            return None
        return np.asarray(self.seen_.indices[self.seen_.indptr[row] : self.seen_.indptr[row + 1]])


def _places(name: str, places: NDArray[Any], noun: str, count: int) -> Integers:
    """Places below a count; `UsageError` for one that is not among them, as NumPy would count it from the end."""
    if places.size and places.dtype.kind not in "iu":
        raise UsageError(f"{name} must be whole numbers; got {places.dtype}. Pass places, as user_rows gives them.")
    outside = np.flatnonzero((places < 0) | (places >= count))
    if outside.size:
        got = places[outside[0]]
        unknown = " (an unknown id)" if got == -1 else ""
        raise UsageError(
            f"{name} must be numbers of {noun} from 0 to {count - 1}; got {got} at place {outside[0]}{unknown}. "
            "Leave this pair out."
        )
    return places.astype(np.int64, copy=False)
