"""Common base of the sparse models: parameters, history, and new users."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.compiled import require_compiler
from coded_als.baselines.threads import available_cores
from coded_als.checks import require_number, require_one_of, require_whole
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, digest
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import rating_matrix, sound_row, weights_of
from coded_als.models.recommending import NewRatings, NewUsers
from coded_als.models.starting import Start
from coded_als.models.training import Callbacks, FitRecorder, recording, reporting
from coded_als.models.training import Iteration as Iteration


@dataclass(frozen=True, eq=False)
class Entries:
    """The ratings of some new users: the parts of a csr matrix in canonical form, without the price of one."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    weights: Floats | None = None  # (entries,) of the squared errors, not negative; None for those of the model

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) entries in each."""
        return self.indptr[1:] - self.indptr[:-1]


class SparseModel(FactorModel, ABC):
    """A factor model of the stored entries of a sparse matrix.

    Examples
    --------
    >>> from coded_als import RidgeALS
    >>> from coded_als.data import load_ratings
    >>> entries = []
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3")
    >>> model = RidgeALS(rank=4, iterations=2).fit(ratings, callback=entries.append)
    >>> [entry.index for entry in entries]
    [1, 2]
    """

    history_: list[Iteration]
    _entry = Iteration
    _fold_methods: ClassVar[tuple[str, ...]] = ("exact", "sgd")
    _fold_rate: float = 0.5
    _takes_weights: ClassVar[bool] = False

    def __init__(self, rank: int, regularization: float, iterations: int, seed: int, dtype: str) -> None:
        require_whole("rank", rank, 1)
        require_whole("iterations", iterations, 1)
        require_whole("seed", seed, 0)
        require_number("regularization", regularization)
        require_one_of("dtype", dtype, ("float32", "float64"))
        self.rank, self.regularization, self.iterations, self.seed = rank, regularization, iterations, seed
        self.dtype = dtype

    @classmethod
    def require_installed(cls) -> None:
        require_compiler()

    def fit(
        self,
        ratings: Any,
        *,
        columns: Sequence[str] | None = None,
        callback: Callbacks | None = None,
        progress: bool = False,
        checkpoint: Checkpoint | None = None,
        start: FactorModel | None = None,
        weights: Any = None,
    ) -> Self:
        """Learn the factors of a rating matrix, and return the model.

        Parameters
        ----------
        ratings
            (m, n), scipy sparse (the stored entries are the observed ones), masked, or dense (zeros are missing); or the
            result of `coded_als.data.load_ratings`; or a table of ratings, such as a DataFrame.
        columns
            Names of the columns of a table: user, item, rating.
        callback
            One function or several, called after each iteration with its entry of ``history_`` or, if they take two
            arguments, with the entry and the model as it stands. The fit ends where one returns True.
        progress
            Whether to show a line of progress.
        checkpoint
            Folder from which an interrupted fit goes on; see `Checkpoint`.
        start
            A fitted model to go on from: its factors of the users and items that it knows, by id, at any rank. New users
            and items are folded in.
        weights
            Weight of each rating, (m, n), dense or sparse, 0 or more: `RidgeALS` and `ImplicitALS` take them. The squared
            error of a rating counts as often as its weight says; one of weight 0 is left out of the loss. For `ImplicitALS`
            they are the confidences, see there. New users are folded in without weights.

        Raises
        ------
        UsageError
            For weights that are negative or not those of the ratings, or with a method that takes none; for ratings that the model cannot learn from, a checkpoint of another fit, a start without a user or item of the
            ratings, or without numba.
        """
        require_compiler()
        given, ids = named_matrix(ratings, columns)
        matrix = rating_matrix(given, np.float64)
        weighing = self._weighing(weights, matrix)
        also = None if weighing is None else {"weights": digest(weighing)}
        warm = Start.of(start, matrix, ids, checkpoint)
        with (
            reporting(callback, progress, self) as report,
            recording(self, matrix, report, checkpoint, time.perf_counter, ids=ids, also=also) as run,
        ):
            self._fit(matrix, run, warm, weighing)
        return self if ids is None else self.set_ids(*ids)

    @abstractmethod
    def _fit(
        self, matrix: sparse.csr_array, run: FitRecorder, warm: Start | None, weights: Array | None = None
    ) -> None:
        """Learn the factors of a matrix in canonical form and keep them."""

    def _weighing(self, weights: Any, matrix: sparse.csr_array) -> Array | None:
        """The weight of each stored rating, (entries,)."""
        if weights is None:
            return None
        if not self._takes_weights:
            raise UsageError(
                f"weights are for RidgeALS and ImplicitALS; got some for {type(self).__name__}. Leave them out, or use one of "
                "these."
            )
        return weights_of(weights, matrix)

    @abstractmethod
    def _fold_rows(self, ratings: Entries, method: str, epochs: int, learning_rate: float) -> NewUsers: ...

    def fold_in(
        self, ratings: NewRatings, *, method: str | None = None, epochs: int = 5, learning_rate: float | None = None
    ) -> NewUsers:
        """Return the factors for new users, with all items held fixed; the model does not change.

        Parameters
        ----------
        ratings
            One user as a mapping from item id to rating, or (k, n), sparse or dense, with the model's columns. A user
            without ratings gets zeros.
        method
            ``"exact"`` is one more half-step of training (BPR and WARP have none); ``"sgd"`` is a few stochastic steps from
            zero. None takes the first that the model has.
        epochs
            Passes over the ratings, of ``"sgd"``.
        learning_rate
            Size of a step, of ``"sgd"``; None: that of training.

        Raises
        ------
        UsageError
            For an unknown item, a rating that is not finite, or a method that the model does not have.
        """
        self._require_fitted()
        require_compiler()
        chosen = self._fold_methods[0] if method is None else method
        require_one_of("method", chosen, self._fold_methods)
        require_whole("epochs", epochs, 1)
        rate = self._fold_rate if learning_rate is None else learning_rate
        require_number("learning_rate", rate, positive=True)
        return self._fold_rows(self._entries(ratings), chosen, epochs, rate)

    def drift(self, ratings: NewRatings, *, epochs: int = 5, learning_rate: float | None = None) -> NDArray[np.float64]:
        """Return the distances of the factors of ``"sgd"`` steps from the exact ones, relative to those, (k,).

        The distance is 0 if the exact factors of a user are 0.

        Parameters
        ----------
        ratings
            New users, as for `fold_in`.
        epochs
            Passes over the ratings.
        learning_rate
            Size of a step; None: that of training.
        """
        exact = self.fold_in(ratings, method="exact").factors
        quick = self.fold_in(ratings, method="sgd", epochs=epochs, learning_rate=learning_rate).factors
        lengths = np.linalg.norm(exact, axis=1)
        gaps = np.linalg.norm(quick - exact, axis=1)
        return np.asarray(np.divide(gaps, lengths, out=np.zeros(len(gaps)), where=lengths > 0), dtype=np.float64)

    def _require_finite(self, *sides: Floats) -> None:
        if not all(np.isfinite(side).all() for side in sides):
            raise UsageError(
                f"{type(self).__name__} must converge on these ratings; got a run that diverged. "
                f"{'Lower learning_rate or raise' if hasattr(self, 'learning_rate') else 'Raise'} regularization."
            )

    def _entries(self, ratings: NewRatings) -> Entries:
        if isinstance(ratings, Mapping):
            return one_user(*self._rated(ratings))
        row = sound_row(ratings, len(self.item_factors_))
        if row is not None:
            return one_user(*row)
        matrix = rating_matrix(ratings, np.float64, columns=len(self.item_factors_), empty=True)
        return Entries(matrix.indptr, matrix.indices, matrix.data)


def one_user(columns: NDArray[Any], values: NDArray[np.float64]) -> Entries:
    """The entries of one new user. ``columns, values``: (entries,) each, by ascending column."""
    return Entries(np.array([0, columns.size]), columns.astype(np.int32, copy=False), values)


def thread_count(threads: int | None) -> int:
    """The number of threads asked for, or that of the cores; `UsageError` for fewer than 1."""
    if threads is None:
        return available_cores()
    require_whole("threads", threads, 1)
    return threads
