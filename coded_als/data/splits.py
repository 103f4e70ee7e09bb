"""Training and test parts of the same ratings, each of the full shape and with all ids, and such parts as text.

All draws follow the order of the source, so that new names of users or items leave the parts as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import RNG, require_whole, seed_from
from coded_als.data.ratings import RatingData
from coded_als.errors import UsageError
from coded_als.models.files import write_whole
from coded_als.models.ids import is_text

Split = tuple[RatingData, RatingData]


def k_fold(data: RatingData, folds: int = 5, *, seed: int | None = None, rng: RNG = None) -> Iterator[Split]:
    """Cut the ratings into folds of equal size and yield (the others, fold) for each in turn.

    The ratings, in the order of the source, are shuffled by NumPy's legacy generator and cut into
    consecutive runs of which the first are longer by one where the sizes are not equal. Those are the
    folds of ``KFold(folds, random_state=seed)`` of scikit-surprise, so that results compare digit by digit.

    Parameters
    ----------
    data
        The ratings.
    folds
        Number of folds.
    seed
        Seed of the order.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Raises
    ------
    UsageError
        For fewer than 2 folds or fewer ratings than folds.

    Examples
    --------
    >>> from coded_als.data import k_fold, load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1")
    >>> [test.entries for train, test in k_fold(ratings, folds=3)]
    [240, 240, 240]
    """
    require_whole("folds", folds, 2)
    if folds > data.entries:
        raise UsageError(f"folds must be at most the number of ratings, {data.entries}; got {folds}. Use fewer.")
    return _each_fold(data, folds, seed_from(seed, rng))


def _each_fold(data: RatingData, folds: int, seed: int) -> Iterator[Split]:
    shuffled = np.arange(data.entries)
    np.random.RandomState(seed).shuffle(shuffled)
    fold_of_position = np.empty(data.entries, dtype=np.int64)
    for fold, part in enumerate(np.array_split(shuffled, folds)):
        fold_of_position[part] = fold
    fold_of_entry = fold_of_position[_rank_in_source(data)]
    for fold in range(folds):
        yield _cut(data, fold_of_entry == fold)


def holdout(data: RatingData, fraction: float = 0.2, *, seed: int | None = None, rng: RNG = None) -> Split:
    """Move a random share of the ratings, rounded to a whole number, into the test part.

    Parameters
    ----------
    data
        The ratings.
    fraction
        Share of the ratings that is held out.
    seed
        Seed of the choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Raises
    ------
    UsageError
        For a fraction that leaves one of the parts empty.

    Examples
    --------
    >>> from coded_als.data import holdout, load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1")
    >>> train, test = holdout(ratings, 0.25, seed=3)
    >>> train.entries, test.entries
    (540, 180)
    """
    count = round(fraction * data.entries) if 0 < fraction < 1 else 0
    if not 0 < count < data.entries:
        raise UsageError(
            f"fraction must leave ratings in both parts; got {fraction} of {data.entries}. Take a number between 0 and 1."
        )
    test = np.zeros(data.entries, dtype=np.bool_)
    test[np.random.default_rng(seed_from(seed, rng)).permutation(data.entries)[:count]] = True
    return _cut(data, test[_rank_in_source(data)])


def holdout_users(data: RatingData, fraction: float = 0.1, *, seed: int | None = None, rng: RNG = None) -> Split:
    """Move all ratings of a random share of the users with two or more, rounded to a whole number, into the test part.

    Parameters
    ----------
    data
        The ratings.
    fraction
        Share of those users that is held out.
    seed
        Seed of the choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Raises
    ------
    UsageError
        For a fraction that leaves one of the parts without users.
    """
    rows, _, _ = data.triples()
    counts = np.bincount(rows, minlength=data.shape[0])
    _, first = np.unique(rows[np.argsort(_rank_in_source(data))], return_index=True)
    users = np.flatnonzero(counts)[np.argsort(first)]  # as the source names them first
    eligible = users[counts[users] >= 2]
    count = round(fraction * eligible.size) if 0 < fraction < 1 else 0
    if not 0 < count < np.count_nonzero(counts):
        raise UsageError(
            f"fraction must leave users in both parts; got {fraction} of the {eligible.size} users with two ratings "
            "or more. Take a number between 0 and 1."
        )
    test = np.zeros(data.shape[0], dtype=np.bool_)
    test[np.random.default_rng(seed_from(seed, rng)).permutation(eligible)[:count]] = True
    return _cut(data, test[rows])


def leave_one_out(
    data: RatingData, *, by: Literal["random", "time"] = "random", seed: int | None = None, rng: RNG = None
) -> Split:
    """Move one rating of every user into the test part, as `leave_k_out` does.

    Parameters
    ----------
    data
        The ratings.
    by
        A random rating of each user, or the latest.
    seed
        Seed of the choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Examples
    --------
    >>> from coded_als.data import leave_one_out, load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1")
    >>> train, test = leave_one_out(ratings)
    >>> test.entries  # one of each user
    60
    """
    return leave_k_out(data, 1, by=by, seed=seed, rng=rng)


def leave_k_out(
    data: RatingData, k: int, *, by: Literal["random", "time"] = "random", seed: int | None = None, rng: RNG = None
) -> Split:
    """Move k ratings of every user into the test part; users without ratings stay without.

    Parameters
    ----------
    data
        The ratings.
    k
        Number of ratings of each user, at least 1; every user must keep one.
    by
        ``random`` ones, or each user's latest (``time``; of equal times the later in the source).
    seed
        Seed of the random choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.

    Raises
    ------
    UsageError
        When a user has k ratings or fewer, or ``by`` is ``time`` and the source has no times.
    """
    require_whole("k", k, 1)
    rows, _, _ = data.triples()
    counts = np.bincount(rows, minlength=data.shape[0])
    short = np.flatnonzero((counts > 0) & (counts <= k))
    if short.size:
        raise UsageError(
            f"every user must have more than {k} ratings to leave {k} out; user {data.user_ids.item(short[0])!r} "
            f"has {counts[short[0]]}. Lower k or drop such users."
        )
    return _leave_last_out(data, rows, np.full(counts.size, k), _precedence(data, by, seed_from(seed, rng)))


def share_of_each_user(data: RatingData, fraction: float, seed: int) -> Split:
    """Move a random share of each user's ratings into the test part; a user keeps one at least."""
    rows, _, _ = data.triples()
    counts = np.bincount(rows, minlength=data.shape[0])
    out = np.minimum(np.round(fraction * counts), counts - 1)
    if not 0 < fraction < 1 or not (out > 0).any():
        raise UsageError(f"the share must hold out a rating of some user; got {fraction}. Take one nearer to 0.5.")
    return _leave_last_out(data, rows, out, _precedence(data, "random", seed))


def _leave_last_out(data: RatingData, rows: NDArray[Any], out: NDArray[Any], precedence: NDArray[Any]) -> Split:
    """Move so many ratings of each user, the last in an order, into the test part."""
    order = np.lexsort((_rank_in_source(data), precedence, rows))
    counts = np.bincount(rows, minlength=data.shape[0])
    place = np.arange(data.entries) - np.repeat(np.cumsum(counts) - counts, counts)
    test = np.zeros(data.entries, dtype=np.bool_)
    test[order[place >= np.repeat(counts - out, counts)]] = True
    return _cut(data, test)


def _precedence(data: RatingData, by: str, seed: int) -> NDArray[Any]:
    if by == "random":
        return np.random.default_rng(seed).permutation(data.entries)[_rank_in_source(data)]
    if by != "time":
        raise UsageError(f"by must be 'random' or 'time'; got {by!r}.")
    if data.times is None:
        raise UsageError(f"leaving the latest out needs times; {data.source} has none. Use by='random'.")
    return data.times


def _rank_in_source(data: RatingData) -> NDArray[np.int64]:
    """0, 1, 2, ... for the entries in the order of the source (a part of a source has gaps in its positions)."""
    rank = np.arange(data.entries)
    if data.positions is not None:
        rank[np.argsort(data.positions, kind="stable")] = np.arange(data.entries)
    return rank


def _cut(data: RatingData, test: NDArray[np.bool_]) -> Split:
    return data.select(~test), data.select(test)


_BLOCK = 2**16
# characters that a reader would take for the end of a field or of a line, or leave out
_UNWRITABLE = re.compile(r'[\t\n\r\0\x1f]|^[ "]|[ "]$|^$')


def write_rating_lines(path: Path, data: RatingData) -> None:
    """Write lines ``user item rating [time]``, separated by tabs, in the order of the source."""
    for ids in (data.user_ids, data.item_ids):
        _require_writable(ids)
    rows, columns, values = data.triples()
    order = np.arange(values.size) if data.positions is None else np.argsort(data.positions, kind="stable")
    fields: list[NDArray[Any]] = [data.user_ids[rows[order]], data.item_ids[columns[order]], _whole(values[order])]
    if data.times is not None:
        fields.append(_whole(data.times[order]))

    def write(file: IO[bytes]) -> None:
        for start in range(0, order.size, _BLOCK):
            block = [field[start : start + _BLOCK].tolist() for field in fields]
            file.write("".join("\t".join(map(str, line)) + "\n" for line in zip(*block, strict=True)).encode())

    try:
        write_whole(path, write)
    except OSError as error:
        raise UsageError(f"ratings must be written where a file can be; got {path}: {error.strerror}.") from None


def _require_writable(ids: NDArray[Any]) -> None:
    if not is_text(ids):
        return
    for name in ids.tolist():
        if _UNWRITABLE.search(name):
            raise UsageError(
                f"ids in lines must hold neither tabs nor line ends, nor begin or end with a space or a quote; got "
                f"{name!a}. Rename it."
            )


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers without a point, where all are."""
    whole = values.dtype.kind == "f" and (values == np.rint(values)).all() and np.abs(values).max(initial=0) < 2**53
    return values.astype(np.int64) if whole else values
