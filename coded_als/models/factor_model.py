"""What every fitted model has in common: two factor matrices, perhaps biases, ids, and what users have seen.

A model class inherits from `FactorModel`, names its ``kind`` and calls `FactorModel._keep` at the end of ``fit``;
recommending, predicting, saving and loading come with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import require_finite
from coded_als.errors import UsageError
from coded_als.models.ids import Id, IdLookup, Ids, as_ids
from coded_als.models.persistence import save_model
from coded_als.models.registry import register
from coded_als.models.state import checked_state
from coded_als.models.top_n import Floats, Integers, recommend_batch, require_count, top_n

if TYPE_CHECKING:
    from scipy.sparse import csr_array


# One new user by item ids, or several as the rows of a matrix with the model's columns.
NewRatings = Mapping[Id, float] | Any


@dataclass(frozen=True, eq=False)
class NewUsers:
    """Users that were folded in: their factors (k, d), and biases (k,) or None."""

    factors: Floats
    biases: Floats | None = None


class FactorModel:
    """Scores are ``global_mean_ + user_biases_[u] + item_biases_[i] + user_factors_[u] @ item_factors_[i]``.

    Attributes
    ----------
    user_factors_, item_factors_
        (m, d) and (n, d).
    user_biases_, item_biases_
        (m,) and (n,), or None.
    global_mean_
        Added to every score.
    user_ids, item_ids
        The original ids in row and column order, arrays of int64 or of str; 0, 1, 2, ... unless `set_ids` was called.
    seen_
        (m, n) sparse pattern of the ratings trained on, or None where nothing is to be filtered.
    """

    kind: ClassVar[str]

    user_factors_: Floats
    item_factors_: Floats
    user_biases_: Floats | None = None
    item_biases_: Floats | None = None
    global_mean_: float = 0.0
    user_ids: Ids
    item_ids: Ids
    seen_: csr_array | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            register(cls.kind, cls)

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

    def recommend(
        self, user: Id, n: int = 10, *, filter_seen: bool = True, exclude: Iterable[Id] = ()
    ) -> list[tuple[Id, float]]:
        """The n best items for a user, best first, as (item id, score); fewer where fewer are left.

        Parameters
        ----------
        user
            An original id (a whole number may also be given as text, and the other way round).
        n
            How many, at least 1.
        filter_seen
            Leave out what the user rated in training.
        exclude
            Ids of items to leave out; ids that the model does not know are ignored.

        Raises
        ------
        UsageError
            For an unknown user, a user without ratings in training, or n < 1.
        """
        require_count(n)
        self._require_fitted()
        row = self._user_lookup.index(user)
        seen = self._seen_columns(row)
        if seen is not None and seen.size == 0:
            raise UsageError(
                f"a user must have ratings to be recommended items; {user!r} has none. Train with some or use fold_in."
            )
        scores = self.scores(row)
        if filter_seen and seen is not None:
            scores[seen] = -np.inf
        return self._ranked(scores, n, self._item_lookup.known(exclude))

    def recommend_many(
        self,
        users: Iterable[Id] | None = None,
        n: int = 10,
        *,
        filter_seen: bool = True,
        exclude: Iterable[Id] = (),
        memory_limit_bytes: int = 32 * 2**20,
    ) -> tuple[Integers, NDArray[np.float64]]:
        """The n best columns of ``item_ids`` for many users (all by default), and their scores, both (users, n).

        Users without ratings get what their factors say. -1 and minus infinity fill up where fewer than n are left.

        Raises
        ------
        UsageError
            For an unknown user, n < 1, or a memory limit below one user's scores.
        """
        self._require_fitted()
        rows: Any = slice(None) if users is None else self._user_lookup.indices(users)
        columns, scores = recommend_batch(
            self.user_factors_[rows],
            self.item_factors_,
            n,
            item_biases=self.item_biases_,
            seen=self.seen_[rows] if filter_seen and self.seen_ is not None else None,
            exclude=self._item_lookup.known(exclude),
            memory_limit_bytes=memory_limit_bytes,
        )
        scores += self.global_mean_
        if self.user_biases_ is not None:
            scores += self.user_biases_[rows, None]
        return columns, scores

    def predict(self, user: Id, item: Id) -> float:
        """The score of one item for one user.

        Raises
        ------
        UsageError
            For an unknown user or item.
        """
        self._require_fitted()
        return float(self.predict_pairs([self._user_lookup.index(user)], [self._item_lookup.index(item)])[0])

    def predict_pairs(self, rows: Sequence[int] | Integers, columns: Sequence[int] | Integers) -> NDArray[np.float64]:
        """The scores of pairs given by row and column, equally many of each, (pairs,)."""
        self._require_fitted()
        rows, columns = np.asarray(rows), np.asarray(columns)
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

    def user_rows(self, users: Iterable[Id] | Ids) -> Integers:
        """The rows of users by original id, -1 for those that the model does not know."""
        self._require_fitted()
        return self._user_lookup.places(users)

    def item_columns(self, items: Iterable[Id] | Ids) -> Integers:
        """The columns of items by original id, -1 for those that the model does not know."""
        self._require_fitted()
        return self._item_lookup.places(items)

    def similar_items(self, item: Id, n: int = 10) -> list[tuple[Id, float]]:
        """The n items whose factors make the smallest angle with this item's, as (item id, cosine), itself left out.

        Raises
        ------
        UsageError
            For an unknown item or n < 1.
        """
        require_count(n)
        self._require_fitted()
        column = self._item_lookup.index(item)
        lengths = np.linalg.norm(self.item_factors_, axis=1)
        # an item without ratings has zero factors and is similar to nothing
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = self.item_factors_ @ self.item_factors_[column] / (lengths * lengths[column])
        return self._ranked(np.where(np.isfinite(cosines), cosines, 0.0), n, np.array([column]))

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Factors for new users, with all items held fixed; the model does not change."""
        raise NotImplementedError

    def score_new(self, users: NewUsers) -> NDArray[np.float64]:
        """The scores of all items for users that were folded in, (k, n)."""
        scores = np.asarray((self.item_factors_ @ users.factors.T).T, dtype=np.float64) + self.global_mean_
        if users.biases is not None:
            scores += users.biases[:, None]
        if self.item_biases_ is not None:
            scores += self.item_biases_
        return scores

    def recommend_new(self, ratings: Mapping[Id, float], n: int = 10) -> list[tuple[Id, float]]:
        """The n best items, other than those rated, for a user who was not there in training; best first."""
        require_count(n)
        scores = self.score_new(self.fold_in(ratings))
        return self._ranked(scores[0], n, self._item_lookup.known(ratings))

    def scores(self, row: int) -> NDArray[np.float64]:
        """The scores of all items for the user in this row, (n,), a new array."""
        scores = np.asarray(self.item_factors_ @ self.user_factors_[row], dtype=np.float64)
        scores += self.global_mean_ + (0.0 if self.user_biases_ is None else self.user_biases_[row])
        if self.item_biases_ is not None:
            scores += self.item_biases_
        return scores

    def save(self, path: str | Path) -> None:
        """Write the model to one file without pickles, whole or not at all; `coded_als.load_model` reads it.

        Raises
        ------
        UsageError
            When the model is not fitted or the file cannot be written.
        """
        self._require_fitted()
        save_model(path, self.kind, self._arrays(), {"parameters": self.parameters()})

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments, each read from the attribute of its name; they must fit into JSON."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> Self:
        """The model that `save` wrote."""
        model = cls(**metadata["parameters"])
        model._restore(arrays)
        return model

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What `save` writes. A model with more to keep extends this and `_restore`."""
        arrays: dict[str, NDArray[Any]] = {
            "user_factors": self.user_factors_,
            "item_factors": self.item_factors_,
            "global_mean": np.array(self.global_mean_),
            "user_ids": self.user_ids,
            "item_ids": self.item_ids,
        }
        if self.user_biases_ is not None:
            arrays["user_biases"] = self.user_biases_
        if self.item_biases_ is not None:
            arrays["item_biases"] = self.item_biases_
        if self.seen_ is not None:
            arrays["seen_indptr"], arrays["seen_indices"] = self.seen_.indptr, self.seen_.indices
        return arrays

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        state = checked_state(arrays)
        if getattr(self, "rank", state.rank) != state.rank:
            raise ValueError(f"factors of rank {state.rank} are not of the rank among the parameters")
        self._keep(
            state.user_factors,
            state.item_factors,
            user_biases=state.user_biases,
            item_biases=state.item_biases,
            global_mean=state.global_mean,
            seen=state.seen,
        )
        self.set_ids(arrays["user_ids"], arrays["item_ids"])

    def _require_fitted(self) -> None:
        if not hasattr(self, "user_factors_"):
            raise UsageError(f"a model must be fitted before it is used; this {type(self).__name__} is not. Call fit.")

    def _seen_columns(self, row: int) -> NDArray[Any] | None:
        if self.seen_ is None:
            return None
        return np.asarray(self.seen_.indices[self.seen_.indptr[row] : self.seen_.indptr[row + 1]])

    def _ranked(self, scores: NDArray[np.float64], n: int, hidden: Integers) -> list[tuple[Id, float]]:
        scores[hidden] = -np.inf
        columns, best = top_n(scores[None, :], min(n, scores.size))
        found = columns[0] >= 0
        return list(zip(self.item_ids[columns[0][found]].tolist(), best[0][found].tolist(), strict=True))
