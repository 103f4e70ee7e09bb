"""The base of every fitted model: ids, scores, recommendations, parameters, saving.

A model class inherits from `FactorModel`, names its ``kind`` and calls ``_keep`` at the end of ``fit``;
recommending, predicting, parameters, saving and loading come with it.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.checks import require_finite, require_one_of
from coded_als.errors import UsageError
from coded_als.models.ids import Id, IdLookup, Ids, as_ids, is_one
from coded_als.models.persistence import save_model
from coded_als.models.rating_matrix import pattern, seen_pattern
from coded_als.models.recommending import (
    MEMORY_BYTES,
    NONE,
    Choice,
    Explanation,
    NewItems,
    NewRatings,
    NewUsers,
    Ranking,
    named,
    places_among,
    similar,
)
from coded_als.models.registry import register
from coded_als.models.top_n import best_of, recommend_batch, require_count, top_n

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Arrays = Mapping[str, NDArray[Any]]


class ItemRanking(Protocol):
    """Ranks all items of a model for one request at a time, in place of the model's own products."""

    def best(self, factors: Floats, hidden: Integers, n: int) -> tuple[Integers, NDArray[np.float64]]:
        """The n best columns, (n,), and their scores for the factors of one user, (d,), without the hidden columns."""

    def similar(self, place: int, n: int) -> tuple[Integers, NDArray[np.float64]]:
        """The n columns at the smallest angles to that at a place, (n,), and the cosines."""


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

    Examples
    --------
    >>> from coded_als import ImplicitALS
    >>> from coded_als.data import load_ratings
    >>> model = ImplicitALS(rank=4).fit(load_ratings("synthetic:m=60,n=40,d=5,density=0.3"))
    >>> ids, scores = model.recommend(0, n=5)  # a user of the training
    >>> ids, scores = model.recommend_new({3: 1.0, 17: 1.0}, n=5)  # a user who joined after training
    >>> ids, scores = model.similar_items(3, n=5)
    >>> model.save("model.npz")
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
    # where a server ranks for many requests at once
    _together: ItemRanking | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            register(cls.kind, cls)

    @classmethod
    def require_installed(cls) -> None:
        """Raise `UsageError` if fitting needs a library that is absent; a fitted model answers without it."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name, each read from the attribute of its name."""
        # an rng gave the seed, and is not kept
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "rng"}

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
        self.seen_, self._together = seen, None
        self.set_ids(np.arange(len(user_factors)), np.arange(len(item_factors)))

    def set_ids(self, user_ids: Sequence[Id] | Ids, item_ids: Sequence[Id] | Ids) -> Self:
        """Name the rows and columns by their original ids, and return the model.

        Parameters
        ----------
        user_ids
            Ids of the users in row order, (m,), whole numbers or text.
        item_ids
            Ids of the items in column order, (n,), whole numbers or text.

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
        """Return the rows of users by original id, (users,), -1 for those that the model does not know."""
        self._require_fitted()
        return self._user_lookup.places(users)

    def item_columns(self, items: Id | Iterable[Id] | Ids) -> Integers:
        """Return the columns of items by original id, (items,), -1 for those that the model does not know."""
        self._require_fitted()
        return self._item_lookup.places(items)

    def predict(self, user: Id, item: Id) -> float:
        """Return the score of one item for one user.

        Parameters
        ----------
        user
            Id of the user.
        item
            Id of the item.

        Raises
        ------
        UsageError
            For an unknown user or item.
        """
        self._require_fitted()
        return float(self.predict_pairs([self._user_lookup.index(user)], [self._item_lookup.index(item)])[0])

    def predict_pairs(self, rows: Sequence[int] | Integers, columns: Sequence[int] | Integers) -> NDArray[np.float64]:
        """Return the scores of pairs given by row and column, (pairs,).

        `user_rows` and `item_columns` give -1 for an unknown id, which has no score: leave such pairs out.

        Parameters
        ----------
        rows
            Rows of the users, (pairs,).
        columns
            Columns of the items, (pairs,).

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
        """Return the scores of all items for the user in this row, (n,), a new array."""
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
        """Return the n items whose factors have the smallest angles to those of an item, or of each of several.

        An item without ratings has no direction: its cosines are 0.

        Parameters
        ----------
        items
            Id of the item, or ids of several.
        n
            Items to return for each.
        memory_limit_bytes
            Most memory of the scores that are held at once.

        Returns
        -------
        Ranking
            Ids and cosines, (k,) for one item, (items, n) for several.

        Raises
        ------
        UsageError
            For an unknown item, n < 1, or a memory limit below the cosines of one item.
        """
        self._require_fitted()
        require_count(n)
        places = self._item_lookup.indices(items)
        if self._together is not None and is_one(items):
            columns, cosines = self._together.similar(int(places[0]), n)
            return Ranking(self.item_ids[columns], cosines)
        found = similar(self.item_factors_, places, n, memory_limit_bytes)
        return named(self.item_ids, *found, one=is_one(items))

    def similar_users(
        self, users: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """Return the n users whose factors have the smallest angles to those of a user, or of each of several.

        Parameters
        ----------
        users
            Id of the user, or ids of several.
        n
            Users to return for each.
        memory_limit_bytes
            Most memory of the scores that are held at once.

        Returns
        -------
        Ranking
            Ids and cosines, (k,) for one user, (users, n) for several.

        Raises
        ------
        UsageError
            For an unknown user, n < 1, or a memory limit below the cosines of one user.
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
        cold: Literal["refuse", "popular"] = "refuse",
        memory_limit_bytes: int = MEMORY_BYTES,
    ) -> Ranking:
        """Return the n best items for a user, or for each of several.

        Parameters
        ----------
        users
            Id of the user, or ids of several. A whole number may also be given as text, and the other way round.
        n
            Items to return for each; at most the number of items.
        filter_seen
            Whether to leave out the items that the user rated in training.
        exclude
            Ids of items to leave out.
        items
            Ids of the items to choose from; None: all.
        cold
            ``"popular"`` gives unknown users, and users without ratings, the items with the most ratings in training, with
            these counts as scores; ``"refuse"`` raises.
        memory_limit_bytes
            Most memory of the scores that are held at once.

        Returns
        -------
        Ranking
            Ids and scores, (k,) for one user, (users, n) for several.

        Raises
        ------
        UsageError
            For an unknown user or item, a user without ratings in training, n < 1, or a memory limit below the scores of
            one user.

        Examples
        --------
        >>> import numpy as np
        >>> from coded_als import CodedALS
        >>> model = CodedALS(rank=2).fit(np.random.default_rng(0).standard_normal((20, 8)))
        >>> ids, scores = model.recommend(3, n=2, filter_seen=False)
        >>> ids.shape, scores.shape
        ((2,), (2,))
        """
        require_count(n)
        self._require_fitted()
        require_one_of("cold", cold, ("refuse", "popular"))
        choice = self._choice(items, exclude)
        if cold == "popular":
            known = self._known(users)
            if not known.all():
                options = {"filter_seen": filter_seen, "exclude": exclude, "items": items}
                return self._with_popular(users, known, n, choice, options | {"memory_limit_bytes": memory_limit_bytes})
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

    def _known(self, users: Id | Iterable[Id]) -> NDArray[np.bool_]:
        """Whether each user, (users,), has ratings in training."""
        rows = self.user_rows(users)
        known = rows >= 0
        if self.seen_ is not None:
            known[known] = np.diff(self.seen_.indptr)[rows[known]] > 0
        return known

    def _with_popular(
        self, users: Any, known: NDArray[Any], n: int, choice: Choice, options: dict[str, Any]
    ) -> Ranking:
        """Lists of several users, and the items with the most ratings for those without any."""
        if self.seen_ is None:
            raise UsageError(
                "popular items are those with the most ratings in training, which this model does not hold; got "
                "cold='popular'. Leave it out."
            )
        counts = np.bincount(self.seen_.indices, minlength=len(self.item_ids)).astype(np.float64)
        counts[choice.hidden] = -np.inf
        if choice.columns is not None:
            counts[np.setdiff1d(np.arange(counts.size), choice.columns)] = -np.inf
        places, scores = top_n(counts[np.newaxis], min(n, counts.size))
        popular = named(self.item_ids, places, scores, one=False)
        if is_one(users):
            left = scores[0] > -np.inf
            return Ranking(popular.ids[0][left], popular.scores[0][left])
        given = np.array(list(users), dtype=object)
        ids, values = np.repeat(popular.ids, len(given), axis=0), np.repeat(popular.scores, len(given), axis=0)
        if known.any():
            found = self.recommend(given[known].tolist(), n, **options)
            ids[known], values[known] = found.ids, found.scores
        return Ranking(ids, values)

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Return the factors for new users, with all items held fixed; the model does not change."""
        raise NotImplementedError

    def fold_in_items(self, ratings: NewRatings) -> NewItems:
        """Return the factors for new items, with all users held fixed; the model does not change, see `add_items`.

        ``ratings``: one item as a mapping from user id to rating, or (k, m), sparse or dense, with the model's users.

        Raises UsageError for an unknown user, and for a method without closed form (BPR and WARP).
        """
        self._require_fitted()
        count = len(self.user_factors_)
        if not isinstance(ratings, Mapping) and np.shape(ratings)[1:] != (count,):
            raise UsageError(
                f"new items must have a column for each of {count} users; got shape {np.shape(ratings)}. Match the model."
            )
        found = self._turned()._fold_turned(ratings)
        return NewItems(found.factors, found.biases)

    def _turned(self) -> Self:
        """The same model with users and items in each other's place."""
        turned = copy.copy(self)
        turned._keep(
            self.item_factors_,
            self.user_factors_,
            user_biases=self.item_biases_,
            item_biases=self.user_biases_,
            global_mean=self.global_mean_,
        )
        turned.user_ids, turned.item_ids = self.item_ids, self.user_ids
        turned._user_lookup, turned._item_lookup = self._item_lookup, self._user_lookup
        return turned

    def _fold_turned(self, ratings: NewRatings) -> NewUsers:
        """Users of the turned model, which are items, folded in."""
        return self.fold_in(ratings)

    def add_items(self, items: Mapping[Id, Mapping[Id, float]]) -> Self:
        """Fold new items in and keep them, so that they are recommended without a refit; returns the model.

        ``items``: by the id of each new item its ratings by user id.

        Raises UsageError for an item that the model has already, and as `fold_in_items`.
        """
        self._require_fitted()
        from scipy import sparse

        rated = [self._turned()._rated(one) for one in items.values()]
        bounds = np.cumsum([0, *(len(places) for places, _ in rated)])
        places = np.concatenate([NONE, *(places for places, _ in rated)])
        values = np.concatenate([np.empty(0), *(values for _, values in rated)])
        entries = sparse.csr_array((values, places, bounds), shape=(len(items), len(self.user_factors_)))
        found = self.fold_in_items(entries)
        new = as_ids("item", list(items), len(items))
        ids = as_ids("item", [*self.item_ids.tolist(), *new.tolist()], len(self.item_ids) + len(items))
        seen = None
        if self.seen_ is not None:
            fresh = pattern(entries.shape, entries.indptr, entries.indices)
            seen = sparse.hstack([self.seen_, fresh.T], format="csr", dtype=np.int8)
        biases = None
        if self.item_biases_ is not None:
            own = np.zeros(len(items)) if found.biases is None else found.biases
            biases = np.concatenate([self.item_biases_, own.astype(self.item_biases_.dtype)])
        users = self.user_ids
        self._keep(
            self.user_factors_,
            np.vstack([self.item_factors_, found.factors.astype(self.item_factors_.dtype)]),
            user_biases=self.user_biases_,
            item_biases=biases,
            global_mean=self.global_mean_,
            seen=seen,
        )
        return self.set_ids(users, ids)

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
        unknown: Literal["refuse", "ignore"] = "refuse",
        memory_limit_bytes: int = MEMORY_BYTES,
    ) -> Ranking:
        """Return the n best items for a user absent from training, or for each of several.

        Parameters
        ----------
        ratings
            One user as a mapping from item id to rating, or several as the rows of a matrix (k, n), as for `fold_in`.
        n
            Items to return for each; at most the number of items.
        filter_seen
            Whether to leave out the items in ``ratings``.
        exclude
            Ids of items to leave out.
        items
            Ids of the items to choose from; None: all.
        unknown
            ``"ignore"`` leaves out the items of a mapping that the model does not know; ``"refuse"`` raises.
        memory_limit_bytes
            Most memory of the scores that are held at once.

        Returns
        -------
        Ranking
            Ids and scores, (k,) for a mapping, (rows, n) for a matrix.

        Raises
        ------
        UsageError
            For an unknown item, ratings that cannot be folded in, n < 1, or a memory limit below the scores of one user.
        """
        require_count(n)
        self._require_fitted()
        require_one_of("unknown", unknown, ("refuse", "ignore"))
        if isinstance(ratings, Mapping) and unknown == "ignore":
            ratings = {item: value for item, value in ratings.items() if self.item_columns([item])[0] >= 0}
        if isinstance(ratings, Mapping) and not ratings and self.kind != "popularity":
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
        """Return the scores of all items for users that were folded in, (k, n)."""
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
        if columns is None and self._together is not None:
            places, best = self._together.best(factors, np.concatenate([seen, choice.hidden]), n)
            return Ranking(self.item_ids[places], best + (self.global_mean_ + bias))
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
        """Split the score of an item into contributions of a user's ratings.

        Folded in, the row of a user is linear in the ratings, and so is the score of an item (Hu, Koren, Volinsky 2008,
        section 5): ``score = base + sum of contributions``. The base is the item's score for a user without ratings.

        Parameters
        ----------
        ratings
            The ratings of the user, by item id.
        item
            Id of the item whose score is split.
        n
            Contributions to return, the largest first.

        Returns
        -------
        Explanation
            The parts of the score that `fold_in` gives.

        Raises
        ------
        UsageError
            For an unknown item, no rating, or n < 1.
        """
        self._require_fitted()
        require_count(n)
        column = self._item_lookup.index(item)
        if not ratings:
            raise UsageError("a score must come from ratings to be explained; got none. Give the user's ratings.")
        rated, contributions = self._contributions(*self._rated(ratings), column)
        base = self._base(column)
        order = np.argsort(-np.abs(contributions), kind="stable")[:n]
        total = float(base + contributions.sum())
        return Explanation(total, base, self.item_ids[rated[order]], contributions[order])

    def _base(self, column: int) -> float:
        """The score of an item for a user without ratings."""
        return self.global_mean_ + (0.0 if self.item_biases_ is None else float(self.item_biases_[column]))

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
            if name == "rank" or not _alike(value, 0 if name == "seed" else defaults[name].default)
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

    def _standing(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The factors and results as they are, for `_return_to`."""
        return self._arrays(), {name: getattr(self, name) for name in self._results if hasattr(self, name)}

    def _return_to(self, arrays: Mapping[str, NDArray[Any]], results: Mapping[str, Any]) -> None:
        """Take back the factors and results of an earlier iteration of the same fit."""
        self._restore(arrays)
        vars(self).update(results)

    def _metadata(self) -> dict[str, Any]:
        entries = [dataclasses.asdict(entry) for entry in getattr(self, "history_", [])] if self._entry else []
        return {"parameters": self.get_params(), "history": entries, "results": self._standing()[1]}

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
