"""Rankings under original ids, the choice of columns that they are made of, and explanations of a score by ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.ids import Id, Ids, as_ids, is_text, several
from coded_als.models.rating_matrix import pattern
from coded_als.models.top_n import recommend_batch

# bound on temporary arrays while many are ranked
MEMORY_BYTES = 32 * 2**20


class Ranking(NamedTuple):
    """Ids and their scores, best first: ``ids, scores = model.recommend(user)``.

    Attributes
    ----------
    ids
        Ids, best first: shape (k,) for one user or item, (users, n) for several; numbers or texts as the model's own. If
        fewer than n candidates are left, one user gets a shorter array; rows of several users are padded with the id -1
        or an empty text.
    scores
        Scores of the same shape, float64; minus infinity where a row is padded.

    Examples
    --------
    >>> from coded_als import Popularity
    >>> from coded_als.data import load_ratings
    >>> model = Popularity().fit(load_ratings("synthetic:m=60,n=40,d=5,density=0.3"))
    >>> ids, scores = model.recommend(0, n=3)
    >>> ids.shape, model.recommend([0, 1], n=3).ids.shape
    ((3,), (2, 3))
    """

    ids: Ids
    scores: NDArray[np.float64]

    def as_frame(self, users: Any = None, library: Literal["pandas", "polars"] = "pandas") -> Any:
        """Return a table with a row for each item: columns user (where ``users`` are given), item and score.

        Parameters
        ----------
        users
            The user, or the users, of the ranking; None leaves the column out.
        library
            Library of the table.

        Raises
        ------
        UsageError
            Without the library, or for another number of users than of lists.
        """
        if library not in ("pandas", "polars") or find_spec(library) is None:
            raise UsageError(
                f"library must be pandas or polars, and installed; got {library!r}. Run pip install {library}."
            )
        ids, scores = np.atleast_2d(self.ids), np.atleast_2d(self.scores)
        there = scores > -np.inf
        columns: dict[str, Any] = {"item": ids[there], "score": scores[there]}
        if users is not None:
            owners = as_ids("user", list(several(users)), len(ids))
            columns = {"user": np.repeat(owners, there.sum(axis=1)), **columns}
        return import_module(library).DataFrame(columns)


# One new user by item ids, or several as the rows of a matrix with the model's columns.
NewRatings = Mapping[Id, float] | Any


@dataclass(frozen=True, eq=False)
class NewUsers:
    """Users that were folded in: their factors (k, d), and biases (k,) or None."""

    factors: Floats
    biases: Floats | None = None


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items that were folded in: their factors (k, d), and biases (k,) or None."""

    factors: Floats
    biases: Floats | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """The columns to choose from, ascending, or None for all, and among all those to leave out."""

    columns: Integers | None
    hidden: Integers


NONE: Integers = np.empty(0, dtype=np.int64)


def named(ids: Ids, places: Integers, scores: NDArray[np.float64], *, one: bool) -> Ranking:
    """Ids in the stead of places.

    ``ids``: (ids,) all of them; ``places, scores``: (many, n) places among them, of which -1 is none, and their scores.
    """
    absent: Any = "" if is_text(ids) else -1
    if ids.dtype.kind == "u":
        absent = np.iinfo(ids.dtype).max
    filled = np.where(places >= 0, ids[places], absent).astype(ids.dtype) if ids.size else np.full(places.shape, absent)
    if not one:
        return Ranking(filled, scores)
    found = places[0] >= 0
    return Ranking(filled[0][found], scores[0][found])


def similar(factors: Floats, places: Integers, n: int, memory_limit_bytes: int) -> tuple[Integers, NDArray[Any]]:
    """Places and cosines, (k, n), of the n rows at the smallest angles to each of (k,) rows, themselves left out."""
    units = unit_rows(factors)
    themselves = pattern((len(places), len(factors)), np.arange(len(places) + 1), places)
    return recommend_batch(
        units[places], units, min(n, len(units)), seen=themselves, memory_limit_bytes=memory_limit_bytes
    )


def unit_rows(factors: Floats) -> Floats:
    """The rows of a table at length 1, (rows, d); a row of zeros has no direction and is similar to nothing."""
    lengths = np.linalg.norm(factors, axis=1)
    return np.asarray(factors / np.where(lengths > 0, lengths, 1)[:, None])


def places_among(name: str, places: NDArray[Any], noun: str, count: int) -> Integers:
    """Places (k,) below a count; `UsageError` for one that is not among them, as NumPy would count it from the end."""
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


def influences(rated: Array, curvature: Floats, penalty: Array, gram: Floats | None, wanted: Array) -> Array:
    """The influence of a unit of each target on a score: ``y_k . S^-1 v``, S = sum_k c_k y_k y_k^T + G + diag(penalty).

    S is A^T A, A = Q T, and so they are ``q_k . T^-T v / sqrt(c_k)``. Forming S would square the condition number of A,
    which a small ridge weight makes large.

    ``rated``: y, (k, d), rows of the items that were rated; ``curvature``: c, (k,), not negative; ``penalty``: (d,),
    positive; ``gram``: G, (d, d), if there is one; ``wanted``: v, (d,), of the item that is scored. Returns (k,).
    """
    from scipy.linalg import solve_triangular  # late: few ask for an explanation

    weights = np.sqrt(np.asarray(curvature, dtype=np.float64))
    blocks = [weights[:, np.newaxis] * rated, np.diag(np.sqrt(penalty))]
    if gram is not None:
        sizes, axes = np.linalg.eigh(np.asarray(gram, dtype=np.float64))
        blocks.append(np.sqrt(np.maximum(sizes, 0.0))[:, np.newaxis] * axes.T)
    orthogonal, triangle = np.linalg.qr(np.vstack(blocks))
    common = solve_triangular(triangle, wanted, trans="T")
    found = rated @ solve_triangular(triangle, common)
    np.divide(orthogonal[: len(rated)] @ common, weights, out=found, where=weights > 0)
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score, split over the ratings of a user."""

    score: float  # ``base`` and all contributions, also of ratings that are not named
    base: float  # score of the item for an unknown user: mean and bias of the item
    ids: Ids  # (k,) items rated, those that weigh most first
    contributions: NDArray[np.float64]  # (k,) part of the score that comes from each rating, of either sign
