"""The estimator with factor tables sharded over devices."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Integers
from coded_als.checks import RNG, require_number, require_one_of, require_whole, seed_from
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import pattern, rating_matrix
from coded_als.models.recommending import NewRatings, NewUsers
from coded_als.models.starting import Start
from coded_als.models.training import Callbacks, FitRecorder, Iteration, recording, reporting
from coded_als.sharded.objectives import Explicit, HostItems, Implicit, Objective, descended

if TYPE_CHECKING:
    from coded_als.sharded.epochs import Layout, Training

# fewer scores are ranked on the host before a program for the devices is compiled
_WORTH_A_PROGRAM = 2**22
# parameters that may differ in a resumed fit: place and means of computation, length, and use afterwards
_FREE = ("devices", "batch_pieces", "piece_length", "iterations", "top_n_recall")
# parameters that only one of the objectives has
_OF_IMPLICIT = ("unobserved_weight", "frequency_exponent")
_OF_EXPLICIT = ("biases", "bias_regularization", "regularization_scaling")


class ShardedALS(FactorModel):
    """ALS with both factor tables cut into equal shards, one on each device that JAX finds (extra ``jax``).

    Minimises the objective of `coded_als.ImplicitALS` (without its ``alpha``) or of `coded_als.RidgeALS`, from the same
    start, in float32. Every device holds the same share of both tables and of the entries, so the memory that a device
    needs falls with their number. After Mehta, Rendle, Krichene, Zhang, "ALX: Large Scale Matrix Factorization on
    TPUs" (2021).

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        lambda, greater than 0. By default 0.005 for ``implicit`` and 10 for ``explicit``.
    iterations
        Each is one half-step per side.
    loss
        ``implicit`` (interactions; stored values do not matter) or ``explicit`` (ratings).
    unobserved_weight
        Weight of a missing rating in the ``implicit`` loss; 0.1 by default, as in `ImplicitALS`.
    frequency_exponent
        Exponent of an item's frequency in the weight of its missing ratings; 1 by default.
    biases
        Whether the ``explicit`` loss has biases; True by default, as in `RidgeALS`.
    bias_regularization
        Ridge weight of the biases; None for that of the factors.
    regularization_scaling
        How the ridge weight of a row grows with its ratings; ``"none"`` by default.
    solver
        ``"cholesky"``, or ``"cg"`` for warm-started conjugate gradients.
    cg_steps
        Conjugate-gradient steps for each row and half-step.
    table_dtype
        ``float32``, or ``bfloat16`` for half of the memory and of the communication; rows are solved in float32.
    devices
        Number of devices; None for all. The result does not depend on it beyond rounding.
    batch_pieces
        Pieces of rows in a batch of one device, about, at least 16. The memory beside the shards grows with
        it.
    piece_length
        Entries of a piece at most. The memory beside the shards grows with it.
    seed
        Seed of the random start.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    top_n_recall
        Many users are ranked on the devices too, exactly at 1; less than that allows approximate lists, which hold about
        this share of the exact ones, on devices that find them sooner (TPUs).

    Attributes
    ----------
    layout_
        Use of each device by the fit: padding, bytes held and bytes exchanged. Not saved.

    Examples
    --------
    >>> from coded_als import ShardedALS
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,density=0.3")
    >>> model = ShardedALS(rank=4, iterations=2).fit(ratings)  # doctest: +SKIP
    """

    kind: ClassVar[str] = "sharded"

    history_: list[Iteration]
    layout_: Layout
    _entry = Iteration

    def __init__(
        self,
        rank: int = 64,
        regularization: float | None = None,
        iterations: int = 12,
        *,
        loss: str = "implicit",
        unobserved_weight: float | None = None,
        frequency_exponent: float | None = None,
        biases: bool | None = None,
        bias_regularization: float | None = None,
        regularization_scaling: str | None = None,
        solver: str = "cholesky",
        cg_steps: int = 3,
        table_dtype: str = "float32",
        devices: int | None = None,
        batch_pieces: int = 512,
        piece_length: int = 32,
        seed: int | None = None,
        rng: RNG = None,
        top_n_recall: float = 1.0,
    ) -> None:
        require_one_of("loss", loss, ("implicit", "explicit"))
        if regularization is None:
            regularization = 0.005 if loss == "implicit" else 10.0
        self.rank, self.regularization, self.iterations, self.loss = rank, regularization, iterations, loss
        self.unobserved_weight, self.frequency_exponent = unobserved_weight, frequency_exponent
        self.biases, self.bias_regularization, self.regularization_scaling = (
            biases,
            bias_regularization,
            regularization_scaling,
        )
        self.solver, self.cg_steps, self.table_dtype, self.devices = solver, cg_steps, table_dtype, devices
        self.batch_pieces, self.piece_length, self.seed = batch_pieces, piece_length, seed_from(seed, rng)
        self.top_n_recall = top_n_recall
        _require_parameters(self)

    @classmethod
    def require_installed(cls) -> None:
        import_module("coded_als.sharded.devices")

    def fit(
        self,
        ratings: Any,
        *,
        columns: Sequence[str] | None = None,
        callback: Callbacks | None = None,
        progress: bool = False,
        checkpoint: Checkpoint | None = None,
        start: FactorModel | None = None,
    ) -> Self:
        """Learn the factors of ratings.

        Parameters
        ----------
        ratings
            (m, n) scipy sparse: the stored entries are the observed ones. Or dense: zeros are missing. Or
            the result of `coded_als.data.load_ratings`, or a table of ratings, such as a DataFrame.
        columns
            Names of the columns of a table: users, items and perhaps ratings.
        callback
            Called after each iteration with its `Iteration` or, if it takes two arguments, with that and the model as it
            stands; the fit ends where it returns True. One, or several.
        progress
            Whether to draw a progress bar on stderr, or in the notebook.
        checkpoint
            Folder of both tables, which are kept after each iteration, or after some. A fit that resumes may run on another
            number of devices, and for more iterations.
        start
            A fitted model to go on from: its factors of the users and items that it knows, by id, at any rank.

        Raises
        ------
        UsageError
            For bad ratings, more devices than there are, a checkpoint of another fit, or without JAX.
        """
        from coded_als.sharded.devices import mesh_of

        given, ids = named_matrix(ratings, columns)
        mesh = mesh_of(self.devices)
        matrix = rating_matrix(given, np.float64)
        warm = Start.of(start, matrix, ids, checkpoint)
        with (
            reporting(callback, progress, self) as report,
            recording(self, matrix, report, checkpoint, time.perf_counter, _FREE, ids=ids) as run,
        ):
            self._fit(matrix, mesh, run, warm)
        return self if ids is None else self.set_ids(*ids)

    def _fit(self, matrix: sparse.csr_array, mesh: Any, run: FitRecorder, warm: Start | None) -> None:
        """Learn the factors and keep them."""
        from coded_als.sharded.epochs import Training

        seen = pattern(matrix.shape, matrix.indptr, matrix.indices)
        objective = self._objective()
        mean, scale = objective.units(matrix.data)
        matrix.data = (matrix.data - mean) / scale
        objective = objective.in_units(scale)
        equations = self._equations(objective)
        sizes = self.batch_pieces, self.piece_length
        training = Training(matrix, objective, equations, mesh, self.table_dtype, *sizes).compiled()
        units = np.full(training.width, np.sqrt(scale), np.float32)
        units[self.rank :] = scale
        beginning = self._start(np.diff(matrix.indptr), training.width)
        if warm is not None:
            warm.put_into(beginning, None, self.rank, units)
        tables = run.arrays(users=beginning, items=np.zeros((matrix.shape[1], training.width), np.float32))
        users, items = training.put(training.users, tables["users"]), training.put(training.items, tables["items"])
        del tables
        run.start()
        targets = objective.targets(matrix.data)
        squares = float(matrix.nnz if targets is None else targets @ targets)
        for _ in run.left(self.iterations):
            users, items, value = training.epoch(users, items)
            earlier = run.entries[-1].objective / scale / scale if run.entries else np.inf
            publish = partial(self._publish, training, users, items, units, mean, seen, run)
            run.close(descended(value, earlier, squares, self.table_dtype) * scale * scale, publish)
            # the next epoch takes the memory of these tables
            run.keep(partial(_state, training, users, items), lasting=False)
        self._publish(training, users, items, units, mean, seen, run)

    def _publish(
        self, training: Training, users: Any, items: Any, units: Any, mean: float, seen: Any, run: FitRecorder
    ) -> None:
        """Take over tables of the devices."""
        self.history_, self.layout_ = run.entries, training.layout
        sides = [
            training.get(side, table) * units for side, table in ((training.users, users), (training.items, items))
        ]
        self._adopt(sides[0], sides[1], mean, seen)

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Return the factors for new users, with all items held fixed, as by one more half-step of training.

        Parameters
        ----------
        ratings
            One user as a mapping from item id to rating, or (k, n) sparse with the model's columns.

        Raises
        ------
        UsageError
            For an unknown item.
        """
        self._require_fitted()
        matrix = self._as_rows(ratings)
        matrix.data -= self.global_mean_
        rows = self._on_host().fold_in(matrix)
        return NewUsers(rows[:, : self.rank], rows[:, self.rank] if self.item_biases_ is not None else None)

    def _rank(self, user_factors: Any, item_factors: Any, *arguments: Any, **options: Any) -> Any:
        if len(user_factors) * len(item_factors) < _WORTH_A_PROGRAM or find_spec("jax") is None:
            return super()._rank(user_factors, item_factors, *arguments, **options)
        from coded_als.sharded.device_ranking import best_on_devices
        from coded_als.sharded.devices import mesh_up_to

        tables, mesh = (user_factors, item_factors), mesh_up_to(self.devices)
        return best_on_devices(mesh, *tables, *arguments, recall=self.top_n_recall, **options)

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        return columns, self._on_host().contributions(columns, values - self.global_mean_, asked)

    def _on_host(self) -> HostItems:
        return HostItems(self.item_factors_, self.item_biases_, self._objective())

    def _objective(self) -> Objective:
        if self.loss == "implicit":
            weight = 0.1 if self.unobserved_weight is None else self.unobserved_weight
            exponent = 1.0 if self.frequency_exponent is None else self.frequency_exponent
            return Implicit(self.regularization, weight, exponent)
        of_biases = self.regularization if self.bias_regularization is None else self.bias_regularization
        return Explicit(
            self.regularization, self.regularization_scaling == "count", self.biases is not False, of_biases
        )

    def _equations(self, objective: Objective) -> Any:
        from coded_als.sharded.equations import Equations

        return Equations(
            self.rank, objective.biases, objective.weight, objective.bias_penalty, self.solver, self.cg_steps
        )

    def _start(self, lengths: NDArray[Any], width: int) -> NDArray[np.float32]:
        """The random start of the users, (m, width); nothing random stays in rows without entries."""
        generator = np.random.default_rng(self.seed)
        start = np.zeros((lengths.size, width), np.float32)
        scale = (0.1 if self.loss == "implicit" else 1.0) / np.sqrt(self.rank)
        for first in range(0, lengths.size, 2**16):
            part = start[first : first + 2**16, : self.rank]
            part[:] = generator.standard_normal(part.shape) * scale
        start[lengths == 0] = 0
        return start

    def _adopt(self, users: NDArray[Any], items: NDArray[Any], mean: float, seen: sparse.csr_array) -> None:
        biased = users.shape[1] > self.rank
        self._keep(
            np.ascontiguousarray(users[:, : self.rank]),
            np.ascontiguousarray(items[:, : self.rank]),
            user_biases=users[:, self.rank].copy() if biased else None,
            item_biases=items[:, self.rank].copy() if biased else None,
            global_mean=mean,
            seen=seen,
        )

    def _as_rows(self, ratings: NewRatings) -> sparse.csr_array:
        if not isinstance(ratings, Mapping):
            return rating_matrix(ratings, np.float64, columns=len(self.item_factors_))
        columns, values = self._rated(ratings)
        shape = (1, len(self.item_factors_))
        return rating_matrix(sparse.csr_array((values, columns, [0, columns.size]), shape=shape), np.float64)


def _state(training: Any, users: Any, items: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"users": training.get(training.users, users), "items": training.get(training.items, items)}, {}


def _require_parameters(model: ShardedALS) -> None:
    """Raise `UsageError` unless the parameters of a model make sense."""
    for name in ("rank", "iterations", "cg_steps", "piece_length"):
        require_whole(name, getattr(model, name), 1)
    require_whole("batch_pieces", model.batch_pieces, 16)
    require_whole("seed", model.seed, 0)
    if model.devices is not None:
        require_whole("devices", model.devices, 1)
    require_one_of("solver", model.solver, ("cholesky", "cg"))
    require_one_of("table_dtype", model.table_dtype, ("float32", "bfloat16"))
    require_number("regularization", model.regularization, positive=True)
    require_number("top_n_recall", model.top_n_recall, positive=True)
    if model.top_n_recall > 1:
        raise UsageError(f"top_n_recall must be at most 1, the exact lists; got {model.top_n_recall}. Lower it.")
    for name in _OF_EXPLICIT if model.loss == "implicit" else _OF_IMPLICIT:
        if getattr(model, name) is not None:
            raise UsageError(
                f"{name} must be left out with loss={model.loss!r}; got {getattr(model, name)!r}. Drop it."
            )
    for name in ("unobserved_weight", "bias_regularization"):
        if getattr(model, name) is not None:
            require_number(name, getattr(model, name), positive=True)
    if model.frequency_exponent is not None:
        require_number("frequency_exponent", model.frequency_exponent)
    if model.regularization_scaling is not None:
        require_one_of("regularization_scaling", model.regularization_scaling, ("none", "count"))
