"""The best items for users, for one or for many, known or new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.ids import Id, is_one
from coded_als.models.rankings import MEMORY_BYTES, Ranking, named
from coded_als.models.similarity import Similarity
from coded_als.models.top_n import best_of, recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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

        Parameters
        ----------
        users
            An original id, or several (a whole number may also be given as text, and the other way round).
        n
            How many, at least 1.
        filter_seen
            Leave out what a user rated in training.
        exclude
            Ids of items to leave out, one or several; ids that the model does not know are ignored.
        items
            Ids of the items to choose from, one or several; all by default.
        memory_limit_bytes
            Bound on temporary arrays, for many users.

        Returns
        -------
        Ids and scores, (k,) for one user, (users, n) for several, with n cut to the number of items; see `Ranking`.

        Raises
        ------
        UsageError
            For an unknown user or item, a user without ratings in training, n < 1, or a memory limit below one user's
            scores.
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

        Parameters
        ----------
        factors
            (users, d) of the users.
        n
            How many, at least 1.
        columns
            (k,) columns to choose from, ascending; all by default. Places are then places in it.
        seen, exclude, memory_limit_bytes
            As in `coded_als.models.top_n.recommend_batch`, by places.

        Returns
        -------
        places, scores
            Both (users, n), without the users' biases and the mean; -1 and minus infinity where fewer are left.
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

        Parameters
        ----------
        ratings
            One user as a mapping from item id to rating, or several as the rows of a matrix (k, n), as for `fold_in`.
        n, exclude, items, memory_limit_bytes
            As in `recommend`.
        filter_seen
            Leave out what is among these ratings.

        Returns
        -------
        Ids and scores, (k,) for a mapping, (rows, n) for a matrix; see `Ranking`.

        Raises
        ------
        UsageError
            For an unknown item, ratings that cannot be folded in, n < 1, or a memory limit below one user's scores.
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
        from coded_als.models.seen import seen_pattern

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
