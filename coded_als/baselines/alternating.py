"""Alternating least squares: every iteration solves all rows of one side, then all of the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.half_step import RatingFacts, Reading, Rows
from coded_als.baselines.model import Entries, thread_count
from coded_als.baselines.quadratic import QuadraticModel
from coded_als.blas import one_blas_thread
from coded_als.checks import RNG, require_number, require_one_of, require_whole, seed_from
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import pattern, power_of_four, rating_matrix
from coded_als.models.starting import Start
from coded_als.models.training import FitRecorder, Iteration


@dataclass(frozen=True, eq=False)
class RatingProblem:
    """The rows of both sides, with ratings as ``(rating - mean) / scale``."""

    mean: float  # subtracted from every rating
    # a power of four; factors are in units of its root, biases in units of it, the objective in units of its square
    scale: float
    # rows of the matrix and of its transpose
    users: Rows
    items: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return self.users.count, self.items.count


class AlternatingModel(QuadraticModel):
    """Alternating least squares: every iteration solves all items, then all users.

    Users come last so that they are exact for the published items: folding a training user in again gives
    that user's row. ``history_`` holds the exact objective, which never rises.
    """

    def __init__(
        self,
        rank: int,
        regularization: float,
        iterations: int,
        solver: str,
        cg_steps: int,
        seed: int,
        threads: int | None,
        dtype: str,
    ) -> None:
        super().__init__(rank, regularization, iterations, seed, dtype)
        require_number("regularization", regularization, positive=True)
        require_one_of("solver", solver, ("cholesky", "cg"))
        require_whole("cg_steps", cg_steps, 1)
        thread_count(threads)
        self.solver, self.cg_steps, self.threads = solver, cg_steps, threads

    _takes_weights = True

    def _mean(self, matrix: sparse.csr_array, weights: Array | None) -> float:
        """The constant that is subtracted from every rating."""
        return 0.0

    def _starting_scale(self) -> float:
        """Standard deviation of the random start, in the units of a `RatingProblem`."""
        return float(1.0 / np.sqrt(self.rank))

    def _problem(self, matrix: sparse.csr_array, dtype: Any, weights: Array | None = None) -> RatingProblem:
        """The problem that float64 ratings pose.

        Raises UsageError where squares of the ratings overflow, or the model's precision does not hold their size.
        """
        with np.errstate(over="ignore"):
            mean = self._mean(matrix, weights)
        values = matrix.data - mean
        scale = self._scale(float(np.abs(values).max()), values.size)
        users = rating_matrix(sparse.csr_array((values / scale, matrix.indices, matrix.indptr), matrix.shape), dtype)
        items = rating_matrix(users.T.tocsr(), dtype)
        weighing: list[Floats | None] = [None, None]
        if weights is not None:
            turned = sparse.csr_array((weights, matrix.indices, matrix.indptr), matrix.shape).T.tocsr()
            weighing = [weights, turned.data]
        sides = (
            Entries(side.indptr, side.indices, side.data, own)
            for side, own in zip((users, items), weighing, strict=True)
        )
        rows = [self._scaled_rows(side, others, scale) for side, others in zip(sides, matrix.shape[::-1], strict=True)]
        return RatingProblem(mean, scale, *rows)

    def _scale(self, size: float, entries: int) -> float:
        """The unit for ratings of that size; `UsageError` where their squares overflow, or the precision lacks it."""
        scale = power_of_four(size) if self._homogeneous else 1.0
        if not np.isfinite(size * size * entries):
            raise UsageError(
                f"ratings must be so small that their squares are finite; got {size:.0e}. Scale them down."
            )
        limits = np.finfo(self.dtype)
        if not float(limits.tiny) <= scale <= float(limits.max):
            raise UsageError(
                f"ratings must be of a size that {self.dtype} holds; they differ from their mean by {size:.0e}. "
                "Scale them, or pass dtype='float64'."
            )
        return scale

    def reading(self, facts: RatingFacts) -> tuple[float, Reading]:
        """The unit of the ratings, and how they are read, where the workers hold them.

        Raises UsageError for ratings that the model cannot learn from.
        """
        mean = facts.mean if self.biases else 0.0
        scale = self._scale(max(abs(facts.least - mean), abs(facts.largest - mean)), facts.entries)
        self._require_least(facts.least)
        return scale, self._reading(mean, scale)

    def _fit(
        self, matrix: sparse.csr_array, run: FitRecorder, warm: Start | None, weights: Array | None = None
    ) -> None:
        problem = self._problem(matrix, self.dtype, weights)
        penalty = self._penalty(problem.scale)
        users, items = self._start(problem, warm)
        state = run.arrays(users=users, items=items)
        users, items = state["users"], state["items"]
        with one_blas_thread():
            for _ in run.left(self.iterations):
                items, _ = self._half_step(problem, self._less_biases(problem.items, users), users, items)
                rows = self._less_biases(problem.users, items)
                users, explained = self._half_step(problem, rows, items, users)
                held = float(problem.items.ridge @ (np.square(items) @ penalty))
                objective = (self._constant(rows) - explained + held) * problem.scale * problem.scale
                run.note(
                    objective,
                    {"users": users, "items": items},
                    partial(self._publish, problem, users, items, matrix, run.entries),
                )
        self._publish(problem, users, items, matrix, run.entries)

    def _publish(
        self, problem: RatingProblem, users: Floats, items: Floats, matrix: sparse.csr_array, history: list[Iteration]
    ) -> None:
        """Take over factors that are in the units of a problem."""
        units = self._units(problem.scale)
        users, items = users.astype(self.dtype) * units, items.astype(self.dtype) * units
        self._adopt(users, items, problem.mean, pattern(matrix.shape, matrix.indptr, matrix.indices), history)

    def _start(self, problem: RatingProblem, warm: Start | None = None) -> tuple[Floats, Floats]:
        generator = np.random.default_rng(self.seed)
        users, items = (np.zeros((count, self.rank + self.biases), self.dtype) for count in problem.shape)
        users[:, : self.rank] = generator.standard_normal((len(users), self.rank)) * self._starting_scale()
        if warm is not None:
            warm.put_into(users, items, self.rank, self._units(problem.scale))
        # nothing random is ever published
        users[problem.users.lengths == 0] = 0
        return users, items

    def _half_step(self, problem: RatingProblem, rows: Rows, fixed: Floats, start: Floats) -> tuple[Floats, float]:
        solver = self._solver(fixed, problem.scale, self.solver, self.cg_steps)
        solution, explained = solver.solve(rows, start, thread_count(self.threads))
        if not np.isfinite(solution).all() or not np.isfinite(explained).all():
            raise UsageError(
                f"ratings and regularization must be of a size that {self.dtype} can square; got a fit that overflows. "
                + ("Scale them." if self.dtype == "float64" else "Scale them or use dtype='float64'.")
            )
        return solution, float(explained.sum())


class RidgeALS(AlternatingModel):
    """Explicit ratings by ``mean + user bias + item bias + u . v``, squared loss on the observed entries only.

    Minimises ``sum_observed (r - prediction)^2 + sum_u lambda_u (|u|^2 + rho b_u^2) + the same over items`` with
    ``lambda_u = regularization`` times the number of ratings of u where ``regularization_scaling="count"`` (Zhou et al. 2008),
    and ``rho = bias_regularization / regularization``.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Greater than 0.
    iterations
        Each is one exact half-step per side.
    biases
        Whether to centre the ratings and learn a bias per user and item.
    bias_regularization
        Regularisation of the biases; None for that of the factors.
    regularization_scaling
        ``none``: every row has the same regularisation; ``count``: times its number of ratings.
    solver
        ``"cholesky"``, or ``"cg"`` for warm-started conjugate gradients.
    cg_steps
        Conjugate-gradient steps for each row and half-step.
    seed
        Seed of the random start.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    threads
        None for one per core.
    dtype
        ``float32`` or ``float64``, of all arithmetic.

    Examples
    --------
    >>> from coded_als import RidgeALS
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=40,n=30,d=4,noise=0.1,density=0.4,seed=1")
    >>> model = RidgeALS(rank=4, iterations=3).fit(ratings)
    >>> prediction = model.predict(user=3, item=5)
    """

    kind: ClassVar[str] = "ridge"

    def __init__(
        self,
        rank: int = 50,
        regularization: float = 10.0,
        iterations: int = 10,
        *,
        biases: bool = True,
        bias_regularization: float | None = None,
        regularization_scaling: str = "none",
        solver: str = "cholesky",
        cg_steps: int = 3,
        seed: int | None = None,
        rng: RNG = None,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, solver, cg_steps, seed_from(seed, rng), threads, dtype)
        require_one_of("regularization_scaling", regularization_scaling, ("none", "count"))
        if bias_regularization is not None:
            require_number("bias_regularization", bias_regularization, positive=True)
        self.biases, self.bias_regularization, self.regularization_scaling = (
            biases,
            bias_regularization,
            regularization_scaling,
        )

    def _mean(self, matrix: sparse.csr_array, weights: Array | None) -> float:
        if not self.biases:
            return 0.0
        if weights is None or not weights.any():
            return float(matrix.data.mean(dtype=np.float64))
        return float(np.average(matrix.data, weights=weights))

    def _bias_regularization(self) -> float:
        return self.regularization if self.bias_regularization is None else self.bias_regularization

    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        # a row without ratings has nothing to regularise, and any positive number keeps its matrix invertible
        return np.maximum(lengths, 1.0) if self.regularization_scaling == "count" else np.ones(len(lengths))


class ImplicitALS(AlternatingModel):
    """Weighted matrix factorization: observed pairs should score 1, all others 0, the latter with less weight.

    Two parametrisations. By default that of Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on
    item recommendation benchmarks" (2022); the stored values do not matter, only where they are:

        sum_observed (1 - u.v)^2 + w sum_all (u.v)^2 + sum_u lambda (count_u + w n)^nu |u|^2 + the same over items

    With ``alpha``, that of Hu, Koren, Volinsky (2008), with confidence ``c = 1 + alpha r``:

        sum_observed c (1 - u.v)^2 + sum_unobserved (u.v)^2 + lambda (sum |u|^2 + sum |v|^2)

    ``fit(weights=)`` gives the confidences c of single pairs. A stored value of 0 or less then asks for a score of 0, which is
    negative evidence. A pair of less confidence than the unobserved ones (w, or 1 with ``alpha``) says less than nothing
    known; one of 0 is left out. The loss is then

        sum_stored c (p - u.v)^2 + w sum_unstored (u.v)^2 + ...,    p = 1 for values above 0, else 0

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        lambda, greater than 0.
    iterations
        Each is one half-step per side.
    unobserved_weight
        w, greater than 0 (0.1 by default).
    frequency_exponent
        nu (1 by default).
    alpha
        Greater than 0, as every stored value must be then; excludes the two before it.
    solver
        ``"cholesky"``, or ``"cg"`` for warm-started conjugate gradients.
    cg_steps
        Conjugate-gradient steps for each row and half-step.
    init_scale
        Length of a random starting row (the standard deviation of an entry is this over sqrt(d)).
    seed
        Seed of the random start.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    threads
        Number of threads; None for all cores.
    dtype
        Type of all arithmetic, ``"float64"`` or ``"float32"``.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import ImplicitALS
    >>> clicks = (np.random.default_rng(0).random((40, 30)) < 0.3).astype(float)
    >>> model = ImplicitALS(rank=4, iterations=3).fit(clicks)
    >>> ids, scores = model.recommend(7, n=5)
    >>> len(ids)
    5
    """

    kind: ClassVar[str] = "implicit"
    _homogeneous: ClassVar[bool] = False

    def __init__(
        self,
        rank: int = 64,
        regularization: float | None = None,
        iterations: int = 12,
        *,
        unobserved_weight: float | None = None,
        frequency_exponent: float | None = None,
        alpha: float | None = None,
        solver: str = "cholesky",
        cg_steps: int = 3,
        init_scale: float = 0.1,
        seed: int | None = None,
        rng: RNG = None,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        if regularization is None:
            # Rendle's lambda is multiplied by counts, Hu's is not
            regularization = 0.005 if alpha is None else 1.0
        super().__init__(rank, regularization, iterations, solver, cg_steps, seed_from(seed, rng), threads, dtype)
        require_number("init_scale", init_scale, positive=True)
        if alpha is not None:
            require_number("alpha", alpha, positive=True)
            if unobserved_weight is not None or frequency_exponent is not None:
                raise UsageError(
                    "alpha must be given without unobserved_weight and frequency_exponent; got both. Leave one out."
                )
        elif unobserved_weight is not None:
            require_number("unobserved_weight", unobserved_weight, positive=True)
        if frequency_exponent is not None:
            require_number("frequency_exponent", frequency_exponent)
        self.alpha, self.init_scale = alpha, init_scale
        self.unobserved_weight, self.frequency_exponent = unobserved_weight, frequency_exponent

    def _starting_scale(self) -> float:
        return float(self.init_scale / np.sqrt(self.rank))

    def _weight(self) -> float:
        """The weight of the sum over all pairs."""
        if self.alpha is not None:
            return 1.0
        return 0.1 if self.unobserved_weight is None else self.unobserved_weight

    def _gram(self, fixed: Floats) -> Floats | None:
        return np.asarray(self._weight() * (fixed.T @ fixed), dtype=fixed.dtype)

    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        if self.alpha is not None:
            return np.ones(len(lengths))
        exponent = 1.0 if self.frequency_exponent is None else self.frequency_exponent
        return np.asarray((lengths + self._weight() * others) ** exponent)

    def _unknown(self) -> float:
        return self._weight()

    def _wanted(self, values: Floats) -> Floats:
        return np.asarray(values > 0, dtype=values.dtype)

    def _require_least(self, least: float) -> None:
        if self.alpha is not None and least <= 0:
            raise UsageError(f"interactions must be greater than 0 with alpha; got {least}. Drop such entries.")

    def _reading(self, mean: float, scale: float) -> Reading:
        bits = 8 * np.dtype(self.dtype).itemsize
        if self.alpha is None:
            return Reading(t0=1.0, t1=0.0, power=1, bits=bits)
        return Reading(c0=0.0, c1=self.alpha, t0=1.0, t1=self.alpha, power=1, bits=bits)

    def _constant(self, rows: Rows) -> float:
        return float(rows.target.sum(dtype=np.float64))
