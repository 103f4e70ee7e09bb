"""The base of every fitted model: ids, scores, recommendations, parameters, saving.

A model class inherits from `FactorModel`, names its ``kind`` and calls ``_keep`` at the end of ``fit``;
recommending, predicting, parameters, saving and loading come with it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.checks import require_finite
from coded_als.errors import UsageError
from coded_als.models.explanation import Explanation
from coded_als.models.ids import Id, IdLookup, Ids, as_ids, is_one
from coded_als.models.persistence import save_model
from coded_als.models.rating_matrix import pattern, seen_pattern
from coded_als.models.recommending import (
    MEMORY_BYTES,
    NONE,
    Choice,
    NewRatings,
    NewUsers,
    Ranking,
    named,
    places_among,
    similar,
)
from coded_als.models.registry import register
from coded_als.models.top_n import best_of, recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class State:
    """The results that every fitted model keeps, except its ids; named as the attributes of `FactorModel`."""

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any] | None
    item_biases: NDArray[Any] | None
    global_mean: float
    seen: csr_array | None

    @property
    def rank(self) -> int:
        """Columns of both factors."""
        return int(self.user_factors.shape[1])


def checked_state(arrays: Arrays) -> State:
    """The state that arrays by name are.

    Raises ValueError where numbers are not finite and real, ids are neither whole numbers nor text, or parts do not
    belong together. Raises KeyError where a part is missing.
    """
    for name in ("user_ids", "item_ids"):
        if arrays[name].dtype.kind not in "iuUO":
            raise ValueError(f"{name} of {arrays[name].dtype} are no ids")
    users, items = _numbers(arrays, "user_factors"), _numbers(arrays, "item_factors")
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"factors of shapes {users.shape} and {items.shape} do not belong together")
    biases = [
        _one_each(_numbers(arrays, name), owner) if name in arrays else None
        for name, owner in (("user_biases", users), ("item_biases", items))
    ]
    mean = float(_numbers(arrays, "global_mean"))
    return State(users, items, biases[0], biases[1], mean, _seen(arrays, (len(users), len(items))))


def _numbers(arrays: Arrays, name: str) -> NDArray[Any]:
    if arrays[name].dtype.kind != "f" or not np.isfinite(arrays[name]).all():
        raise ValueError(f"{name} are not finite real numbers")
    return arrays[name]


def _one_each(biases: NDArray[Any], owner: NDArray[Any]) -> NDArray[Any]:
    if biases.shape != owner.shape[:1]:
        raise ValueError(f"biases of shape {biases.shape} do not belong to factors of shape {owner.shape}")
    return biases


def _seen(arrays: Arrays, shape: tuple[int, int]) -> csr_array | None:
    if "seen_indptr" not in arrays:
        return None
    indptr, indices = arrays["seen_indptr"], arrays["seen_indices"]
    if indptr.dtype.kind != "i" or indices.dtype.kind != "i":
        raise ValueError("the ratings seen are not whole numbers")
    return pattern(shape, indptr, indices)


class FactorModel:
    """Scores are ``global_mean_ + user_biases_[u] + item_biases_[i] + user_factors_[u] @ item_factors_[i]``.

    Attributes
    ----------
    user_factors_
        Factors of the users, (m, d).
    item_factors_
        Factors of the items, (n, d).
    user_biases_
        Biases of the users, (m,), or None.
    item_biases_
        Biases of the items, (n,), or None.
    global_mean_
        Added to every score.
    user_ids
        Original ids in row order, whole numbers or str; 0, 1, 2, ... unless `set_ids` was called.
    item_ids
        Original ids in column order, likewise.
    seen_
        (m, n) sparse pattern of the ratings trained on, or None where nothing is to be filtered.
    history_
        One entry for each iteration of the fit.
    """

    kind: ClassVar[str]
    # class of the entries of history_, a dataclass
    _entry: ClassVar[type[Any] | None] = None
    # further results of a fit that are saved, by attribute
    _results: ClassVar[tuple[str, ...]] = ()

    user_factors_: Floats
    item_factors_: Floats
    user_biases_: Floats | None = None
    item_biases_: Floats | None = None
    global_mean_: float = 0.0
    user_ids: Ids
    item_ids: Ids
    seen_: csr_array | None = None
    history_: list[Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            register(cls.kind, cls)

    @classmethod
    def require_installed(cls) -> None:
        """Raise `UsageError` if fitting needs a library that is absent; a fitted model answers without it."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, each read from the attribute of its name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **changes: Any) -> Self:
        """Change some of the constructor's arguments, and return the model; fitted results stay until the next fit.

        Raises UsageError for an unknown parameter, or where the constructor refuses a value; nothing is changed then.
        """
        known = self.get_params()
        for name in changes:
            if name not in known:
                raise UsageError(
                    f"a parameter of {type(self).__name__} must be one of {', '.join(known)}; got {name!r}."
                )
        self.__dict__.update(type(self)(**(known | changes)).__dict__)
        return self

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

        ``user_ids, item_ids``: (m,) and (n,), whole numbers or text.

        Raises UsageError when the model is not fitted, there is not one id per row or column, or an id appears twice.
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

        Raises UsageError for an unknown user or item.
        """
        self._require_fitted()
        return float(self.predict_pairs([self._user_lookup.index(user)], [self._item_lookup.index(item)])[0])

    def predict_pairs(self, rows: Sequence[int] | Integers, columns: Sequence[int] | Integers) -> NDArray[np.float64]:
        """The scores of pairs given by row and column.

        ``rows, columns``: (pairs,) each. `user_rows` and `item_columns` give -1 for an unknown id, which has no score:
        leave such pairs out. Returns (pairs,).

        Raises UsageError unless there is one column for each row and all are numbers of users and of items.
        """
        self._require_fitted()
        rows, columns = np.asarray(rows), np.asarray(columns)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise UsageError(
                f"pairs must have one column for each row; got shapes {rows.shape} and {columns.shape}. "
                "Pass two lists of one length."
            )
        rows = places_among("rows", rows, "users", len(self.user_factors_))
        columns = places_among("columns", columns, "items", len(self.item_factors_))
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
        places_among("rows", np.array([row]), "users", len(self.user_factors_))
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

    def similar_items(
        self, items: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n items with the smallest angles between their factors and an item's, or those of each of several.

        Returns ids and cosines, (k,) for one, (items, n) for several; see `Ranking`. An item without ratings has no
        direction: its cosines are 0.

        Raises UsageError for an unknown item, n < 1, or a memory limit below one item's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._item_lookup.indices(items)
        found = similar(self.item_factors_, places, n, memory_limit_bytes)
        return named(self.item_ids, *found, one=is_one(items))

    def similar_users(
        self, users: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n users with the smallest angles between their factors and a user's, or those of each of several.

        Returns ids and cosines, (k,) for one, (users, n) for several; see `Ranking`.

        Raises UsageError for an unknown user, n < 1, or a memory limit below one user's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._user_lookup.indices(users)
        found = similar(self.user_factors_, places, n, memory_limit_bytes)
        return named(self.user_ids, *found, one=is_one(users))

    def recommend(
        self,
        users: Id | Iterable[Id],
        n: int = 10,
        *,
        filter_seen: bool = True,
        exclude: Id | Iterable[Id] = (),
        items: Id | Iterable[Id] | None = None,
        memory_limit_bytes: int = MEMORY_BYTES,
    ) -> Ranking:
        """The n best items for a user, or for each of several.

        ``users``: an original id, or several (a whole number may also be given as text, and the other way round).
        Returns ids and scores, (k,) for one user, (users, n) for several, with n cut to the number of items; see
        `Ranking`.

        Raises UsageError for an unknown user or item, a user without ratings in training, n < 1, or a memory limit
        below one user's scores.
        """
        require_count(n)
        self._require_fitted()
        choice = self._choice(items, exclude)
        if is_one(users):
            row = self._user_lookup.index(users)  # type: ignore[arg-type]
            seen = self._seen_columns(row)
            self._require_ratings(np.array([row]))
            bias = 0.0 if self.user_biases_ is None else float(self.user_biases_[row])
            hidden = seen if filter_seen and seen is not None else NONE
            return self._best(self.user_factors_[row], bias, hidden, n, choice)
        rows = self._user_lookup.indices(users)
        self._require_ratings(rows)
        found = NewUsers(self.user_factors_[rows], None if self.user_biases_ is None else self.user_biases_[rows])
        shown = self.seen_[rows] if filter_seen and self.seen_ is not None else None
        return self._best_of_many(found, shown, n, choice, memory_limit_bytes)

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Factors for new users, with all items held fixed; the model does not change."""
        raise NotImplementedError

    def best_columns(
        self,
        factors: Floats,
        n: int,
        *,
        columns: Integers | None = None,
        seen: csr_array | None = None,
        exclude: Iterable[int] = (),
        memory_limit_bytes: int = MEMORY_BYTES,
    ) -> tuple[Integers, NDArray[np.float64]]:
        """The n best items for many users, by place; `recommend` and evaluation rank with it.

        ``factors``: (users, d) of the users; ``columns``: (k,) columns to choose from, ascending; all by default.
        Places are then places in it. Returns places, scores Both (users, n), without the users' biases and the mean; -1
        and minus infinity where fewer are left.
        """
        chosen: Any = slice(None) if columns is None else columns
        return self._rank(
            factors,
            self.item_factors_[chosen],
            n,
            item_biases=None if self.item_biases_ is None else self.item_biases_[chosen],
            seen=seen,
            exclude=exclude,
            memory_limit_bytes=memory_limit_bytes,
        )

    def _rank(self, *tables: Any, **options: Any) -> tuple[Integers, NDArray[np.float64]]:
        """`recommend_batch`, unless a model has somewhere else to rank."""
        return recommend_batch(*tables, **options)

    def _rated(self, ratings: Mapping[Id, float]) -> tuple[Integers, NDArray[np.float64]]:
        """Columns, ascending, and ratings of one new user."""
        ids = list(ratings)
        columns = self._item_lookup.places(np.asarray(ids))
        if (columns < 0).any():
            self._item_lookup.indices(ids)  # raises, and says which
        try:
            values = np.fromiter(ratings.values(), dtype=np.float64, count=len(ids))
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            raise UsageError("ratings must be finite numbers; got one that is not. Correct or remove it.")
        if (columns[1:] <= columns[:-1]).any():
            order = columns.argsort()
            columns, values = columns[order], values[order]
            if (columns[1:] == columns[:-1]).any():
                raise UsageError("a user must rate an item once; got one under two spellings of its id. Leave one out.")
        return columns, values

    def recommend_new(
        self,
        ratings: NewRatings,
        n: int = 10,
        *,
        filter_seen: bool = True,
        exclude: Id | Iterable[Id] = (),
        items: Id | Iterable[Id] | None = None,
        memory_limit_bytes: int = MEMORY_BYTES,
    ) -> Ranking:
        """The n best items for a user absent from training, or for each of several.

        ``ratings``: one user as a mapping from item id to rating, or several as the rows of a matrix (k, n), as for
        `fold_in`. Returns ids and scores, (k,) for a mapping, (rows, n) for a matrix; see `Ranking`.

        Raises UsageError for an unknown item, ratings that cannot be folded in, n < 1, or a memory limit below one
        user's scores.
        """
        require_count(n)
        self._require_fitted()
        if isinstance(ratings, Mapping) and not ratings:
            raise UsageError("a user must have ratings to be recommended items; got none. Give the user's ratings.")
        folded = self.fold_in(ratings)
        choice = self._choice(items, exclude)
        if isinstance(ratings, Mapping):
            bias = 0.0 if folded.biases is None else float(folded.biases[0])
            hidden = self._item_lookup.known(np.asarray(list(ratings))) if filter_seen else NONE
            return self._best(folded.factors[0], bias, hidden, n, choice)
        seen = seen_pattern(ratings, full=True) if filter_seen else None
        return self._best_of_many(folded, seen, n, choice, memory_limit_bytes)

    def score_new(self, users: NewUsers) -> NDArray[np.float64]:
        """The scores of all items for users that were folded in, (k, n)."""
        scores = np.asarray((self.item_factors_ @ users.factors.T).T, dtype=np.float64) + self.global_mean_
        if users.biases is not None:
            scores += users.biases[:, None]
        if self.item_biases_ is not None:
            scores += self.item_biases_
        return scores

    def _require_ratings(self, rows: Integers) -> None:
        if self.seen_ is None:
            return
        none = np.flatnonzero(self.seen_.indptr[rows] == self.seen_.indptr[rows + 1])
        if none.size:
            raise UsageError(
                f"a user must have ratings to be recommended items; {self.user_ids.item(rows[none[0]])!r} has none. "
                "Train with some or use recommend_new."
            )

    def _choice(self, items: Id | Iterable[Id] | None, exclude: Id | Iterable[Id]) -> Choice:
        chosen = None if items is None else np.unique(self._item_lookup.indices(items))
        hidden = self._item_lookup.known(exclude)
        if chosen is not None:
            chosen = np.setdiff1d(chosen, hidden, assume_unique=False)
            hidden = NONE
        return Choice(chosen, hidden)

    def _best(self, factors: Floats, bias: float, seen: NDArray[Any], n: int, choice: Choice) -> Ranking:
        """The best items for one user's factors."""
        columns = choice.columns
        scores = (self.item_factors_ if columns is None else self.item_factors_[columns]) @ factors
        if self.item_biases_ is not None:
            scores += self.item_biases_ if columns is None else self.item_biases_[columns]
        if columns is None:
            scores[seen] = -np.inf
            scores[choice.hidden] = -np.inf
        else:
            scores[np.isin(columns, seen)] = -np.inf
        places, best = best_of(scores, n)
        ids = self.item_ids[places if columns is None else columns[places]]
        return Ranking(ids, best + (self.global_mean_ + bias))

    def _best_of_many(
        self, users: NewUsers, seen: csr_array | None, n: int, choice: Choice, memory_limit_bytes: int
    ) -> Ranking:
        columns: Any = slice(None) if choice.columns is None else choice.columns
        places, scores = self.best_columns(
            users.factors,
            min(n, len(self.item_ids)),
            columns=choice.columns,
            seen=seen if seen is None or choice.columns is None else seen[:, columns],
            exclude=choice.hidden,
            memory_limit_bytes=memory_limit_bytes,
        )
        scores += self.global_mean_
        if users.biases is not None:
            scores += users.biases[:, None]
        return named(self.item_ids[columns], places, scores, one=False)

    def explain(self, ratings: Mapping[Id, float], item: Id, n: int = 10) -> Explanation:
        """Which of a user's ratings a score comes from.

        Folded in, the user's row is linear in the ratings, and so is the score of an item (Hu, Koren, Volinsky 2008,
        section 5): ``score = base + sum of contributions``. The base is the item's score for a user without ratings.

        Returns an `Explanation`, of the score that `fold_in` gives.

        Raises UsageError for an unknown item, no rating, or n < 1.
        """
        self._require_fitted()
        require_count(n)
        column = self._item_lookup.index(item)
        if not ratings:
            raise UsageError("a score must come from ratings to be explained; got none. Give the user's ratings.")
        rated, contributions = self._contributions(*self._rated(ratings), column)
        base = self.global_mean_ + (0.0 if self.item_biases_ is None else float(self.item_biases_[column]))
        order = np.argsort(-np.abs(contributions), kind="stable")[:n]
        total = float(base + contributions.sum())
        return Explanation(total, base, self.item_ids[rated[order]], contributions[order])

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The parts of a column's score that come from ratings (k,) in ascending columns (k,): columns and parts, (k,) each."""
        raise UsageError(
            f"a score must be linear in the ratings of a user to be explained; that of {type(self).__name__} is not. "
            "Take a model of squared loss."
        )

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if name == "rank" or not _alike(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def save(self, path: str | Path) -> None:
        """Write the model to one file without pickles, whole or not at all; `coded_als.load_model` reads it.

        Raises UsageError when the model is not fitted or the file cannot be written.
        """
        self._require_fitted()
        save_model(path, self.kind, self._arrays(), self._metadata())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> Self:
        """The model that `save` wrote.

        Raises ValueError, TypeError, KeyError for arrays or metadata that are not those of a model.
        """
        model = cls(**metadata["parameters"])
        model._restore(arrays)
        entries = metadata.get("history", [])
        model.history_ = [cls._entry(**_with_tuples(entry)) for entry in entries] if cls._entry else []
        for name, value in metadata.get("results", {}).items():
            if name in cls._results:
                setattr(model, name, tuple(value) if isinstance(value, list) else value)
        return model

    def _metadata(self) -> dict[str, Any]:
        entries = [dataclasses.asdict(entry) for entry in getattr(self, "history_", [])] if self._entry else []
        results = {name: getattr(self, name) for name in self._results if hasattr(self, name)}
        return {"parameters": self.get_params(), "history": entries, "results": results}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that `save` writes. A model with more to keep extends this and `_restore`."""
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


def _alike(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _with_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a history as it was before JSON made lists of its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
