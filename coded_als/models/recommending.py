"""The best items for users, for one or for many, known or new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.checks import require_finite
from coded_als.errors import UsageError
from coded_als.models.id_text import is_text
from coded_als.models.ids import Id, IdLookup, Ids, as_ids, is_one
from coded_als.models.top_n import best_of, recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# bound on temporary arrays while many are ranked
MEMORY_BYTES = 32 * 2**20


class Ranking(NamedTuple):
    """Ids and their scores, best first: ``ids, scores = model.recommend(user)``.

    Parameters
    ----------
    ids
        (k,) for one, (many, n) for many, where n is at most the number of all: int64 or str as the model's own. Where
        fewer than n are left, one gets fewer, and the rows of many end in -1 or empty text, with scores of minus
        infinity.
    scores
        Of the same shape, float64.
    """

    ids: Ids
    scores: NDArray[np.float64]


def named(ids: Ids, places: Integers, scores: NDArray[np.float64], *, one: bool) -> Ranking:
    """Ids in the stead of places.

    ``ids``: (ids,) all of them; ``places, scores``: (many, n) places among them, of which -1 is none, and their
    scores.
    """
    absent: Any = "" if is_text(ids) else -1
    if ids.dtype.kind == "u":
        absent = np.iinfo(ids.dtype).max
    filled = np.where(places >= 0, ids[places], absent).astype(ids.dtype) if ids.size else np.full(places.shape, absent)
    if not one:
        return Ranking(filled, scores)
    found = places[0] >= 0
    return Ranking(filled[0][found], scores[0][found])


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


class Similarity(Scoring):
    """What is similar to what in a model with factors and ids."""

    def similar_items(
        self, items: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n items whose factors make the smallest angles with an item's, or with those of each of several.

        Returns ids and cosines, (k,) for one, (items, n) for several; see `Ranking`. An item without ratings has no
        direction: its cosines are 0.

        Raises UsageError for an unknown item, n < 1, or a memory limit below one item's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._item_lookup.indices(items)
        found = _similar(self.item_factors_, places, n, memory_limit_bytes)
        return named(self.item_ids, *found, one=is_one(items))

    def similar_users(
        self, users: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n users whose factors make the smallest angles with a user's, or with those of each of several.

        Returns ids and cosines, (k,) for one, (users, n) for several; see `Ranking`.

        Raises UsageError for an unknown user, n < 1, or a memory limit below one user's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._user_lookup.indices(users)
        found = _similar(self.user_factors_, places, n, memory_limit_bytes)
        return named(self.user_ids, *found, one=is_one(users))


def _similar(factors: Floats, places: Integers, n: int, memory_limit_bytes: int) -> tuple[Integers, NDArray[Any]]:
    """Places and cosines of the n rows that make the smallest angles with each of some, themselves left out."""
    from coded_als.models.rating_matrix import pattern

    lengths = np.linalg.norm(factors, axis=1)
    # a row of zeros has no direction and is similar to nothing
    units = factors / np.where(lengths > 0, lengths, 1)[:, None]
    themselves = pattern((len(places), len(factors)), np.arange(len(places) + 1), places)
    return recommend_batch(
        units[places], units, min(n, len(units)), seen=themselves, memory_limit_bytes=memory_limit_bytes
    )


# One new user by item ids, or several as the rows of a matrix with the model's columns.
NewRatings = Mapping[Id, float] | Any


@dataclass(frozen=True, eq=False)
class NewUsers:
    """Users that were folded in: their factors (k, d), and biases (k,) or None."""

    factors: Floats
    biases: Floats | None = None


class Recommending(Similarity):
    """What a model with factors and ids recommends."""

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
            hidden = seen if filter_seen and seen is not None else _NONE
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
        """The n best items for many users, by place: what `recommend` and evaluation rank with.

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
        """The n best items for a user who was not there in training, or for each of several.

        ``ratings``: one user as a mapping from item id to rating, or several as the rows of a matrix (k, n), as for
        `fold_in`. Returns ids and scores, (k,) for a mapping, (rows, n) for a matrix; see `Ranking`.

        Raises UsageError for an unknown item, ratings that cannot be folded in, n < 1, or a memory limit below one
        user's scores.
        """
        require_count(n)
        self._require_fitted()
        if isinstance(ratings, Mapping) and not ratings:
            raise UsageError("a user must have ratings to be recommended items; got none. Give what the user rated.")
        folded = self.fold_in(ratings)
        choice = self._choice(items, exclude)
        if isinstance(ratings, Mapping):
            bias = 0.0 if folded.biases is None else float(folded.biases[0])
            hidden = self._item_lookup.known(np.asarray(list(ratings))) if filter_seen else _NONE
            return self._best(folded.factors[0], bias, hidden, n, choice)
        from coded_als.models.rating_matrix import seen_pattern

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

    def _choice(self, items: Id | Iterable[Id] | None, exclude: Id | Iterable[Id]) -> _Choice:
        chosen = None if items is None else np.unique(self._item_lookup.indices(items))
        hidden = self._item_lookup.known(exclude)
        if chosen is not None:
            chosen = np.setdiff1d(chosen, hidden, assume_unique=False)
            hidden = _NONE
        return _Choice(chosen, hidden)

    def _best(self, factors: Floats, bias: float, seen: NDArray[Any], n: int, choice: _Choice) -> Ranking:
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
        self, users: NewUsers, seen: csr_array | None, n: int, choice: _Choice, memory_limit_bytes: int
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


@dataclass(frozen=True, eq=False)
class _Choice:
    """The columns to choose from, ascending, or None for all, and among all those to leave out."""

    columns: Integers | None
    hidden: Integers


_NONE: Integers = np.empty(0, dtype=np.int64)
