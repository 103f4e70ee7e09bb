"""`CodedALS`: the whole factorization as one estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.als.centring import Center, centred_problem, row_means
from coded_als.als.convergence import Outcome, Stopping, remedy_of
from coded_als.als.history import CodedIteration, Recorder
from coded_als.als.problem import Problem, Weighting, in_unit, weighted
from coded_als.als.products import DistributedData, RoundLog, RoundRecord
from coded_als.als.ritz import BestFactors, RitzPairs, begin_from, singular_triplets
from coded_als.als.solving import SolverInput, solver_of
from coded_als.als.spread import Spread, Where, auto_code, choose_spread, extent_of
from coded_als.als.ties import resolved as resolved_cut
from coded_als.als.updates import inverse_of_gram
from coded_als.arrays import Array, Integers
from coded_als.blas import one_blas_thread
from coded_als.checks import RNG, require_number, require_one_of, require_whole, seed_from
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.scope import Scope
from coded_als.cluster.seam import Cluster
from coded_als.cluster.verification import VERIFY, Verify, verified
from coded_als.codes import CodeSpec, Entangled, asked_code
from coded_als.codes.entangled import square
from coded_als.codes.single import ShareType, growth_of, tolerance_in
from coded_als.data.tables import named_matrix
from coded_als.delays.models import DelayModel
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import checked_ratings, seen_pattern
from coded_als.models.recommending import NewRatings, NewUsers
from coded_als.models.starting import Start
from coded_als.models.training import Callbacks, FitRecorder, recording, reporting
from coded_als.planner.default import ChosenCode
from coded_als.planner.schemes import Extent, Scheme, Size
from coded_als.planner.solvers import SOLVERS, solvers_of

ProtocolName = Literal["fused", "paper"]
ENDED = "A callback ended the fit before it had converged."
# Parameters that may differ when a fit goes on from a checkpoint: its length, and the way to its products.
FREE = (
    "iterations", "block", "code", "partitions", "precomputation", "decoding_tolerance", "verify",
    "memory_per_worker",
)  # fmt: skip


# Where a round takes fewer multiplications at the master, one BLAS thread is done sooner: in each of many small steps it would
# wait for the other threads, and for those of another BLAS, which go on spinning for a tenth of a second.
SMALL = 10_000_000


class CodedALS(FactorModel):
    """R ~ U V^T with missing ratings read as zeros, on a cluster that does not wait for its stragglers.

    Minimises ||R - U V^T||^2 + lam ||U||^2 + lam ||V||^2 to a proved distance from the optimum, with any workers slow.

    Parameters
    ----------
    rank
        Columns d of both factors; at most min(m, n), and at most the rank of R unless it is regularised.
    code
        SPEC of how D is spread over the workers (`coded_als.codes.parse_code`): ``"uncoded"``, ``"replicated:copies=3"``,
        ``"systematic:p=21"``, ``"entangled:h=6,points=real"``, ... ``"auto"`` is a systematic code that takes the memory
        of two copies of D, with shares in pieces: any half of the workers are enough, and it needs to know of no delays.
        Where rounds are too short for pieces, a quarter of the workers is spare, or, if the cluster knows of delays, the
        code is the fastest that `coded-als plan` expects in that memory. Sparse rows are in three copies where D is not
        formed.
    partitions
        h of the paper's code: rows and columns of D are cut in h parts each. A worker holds 1/h^2 of D, twice that on
        the circle.
    regularization
        Ridge weight lam.
    protocol
        ``"fused"``: one round per ALS iteration; ``"paper"``: the paper's three, with its code cut h x h.
    solver
        ``"krylov"``: block Lanczos with a block of any width, about a tenth of the rounds of ALS; ``"lobpcg"``: a locally
        optimal block iteration; ``"als"``: the paper's update.
    block
        Columns of the block of solver ``"krylov"``, any number: a wide one takes fewer rounds, a narrow one less work.
        ``"auto"``: the number that is expected to take the least time, from the wait of a round and the cost of a
        column.
    iterations
        The most iterations to run.
    tolerance
        Stop when the objective is proved to be within this of the optimum, relative to it.
    decoding_tolerance
        Relative error that a decoded product may have; by default the tolerance of the code, 1e-11 (systematic), 1e-12
        (on the circle) or 1e-8 (real points), and in float32 at most 1e-3. A round waits for one more response rather than decode worse. If no other
        worker can respond, products are decoded as well as they can be and the data alone prove the result
        (`protocol="paper"` ends with an error then, and so does a fit with products that have no digits left).
    precomputation
        Place where D = R^T R is formed: ``"local"`` at the master, ``"coded"`` on the workers, ``"none"`` nowhere: the workers
        hold blocks of rows of a sparse R in copies (``code="replicated:copies=3"``) and multiply with these; a single worker
        may hold a dense R as it is.
        ``"auto"`` takes the faster of these by counting; a code other than copies asks for D to be formed.
    weighting
        The matrix that is factorized: ``"none"`` the ratings, ``"binary"`` a 1 for each, ``"centred"`` less their mean,
        ``"log"`` their logarithm. `objective_` and `history_` are those of the matrix factorized.
    center
        The means that are subtracted from the matrix before it is factorized: ``"columns"``, ``"rows"`` or ``"both"``, over
        all entries, missing ones as zeros; None subtracts none. They are kept as `item_biases_` and `user_biases_`, and
        every score includes them. A sparse R is not filled in. Where a large offset hides the objective in rounding, this
        is the remedy; with ``"columns"`` the factors are those of a principal component analysis.
    seed
        Seed of the start.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    verify
        ``"freivalds"``: each response is checked by itself before it counts, by random combinations that the master alone
        knows. Workers that send wrong numbers are left out for the rest of the fit, as many as the code tolerates
        stragglers. ``"off"`` refuses NaN and infinity only.
    dtype
        Type of the shares on the workers, and of the arrays that are sent: ``"float32"`` takes half the memory and half the
        bytes, and products take about half the time. Encoding, decoding and the algebra stay in float64, and the proof
        of convergence comes from the data. Where float32 cannot tell, `outcome_` is ``"undecided"``.
    memory_per_worker
        Most bytes that ``code="auto"`` may store on a worker: fewer than two copies of D take a larger p, and 1/W of D no
        code.

    Attributes
    ----------
    user_factors_
        U, (m, d).
    item_factors_
        V, (n, d).
    history_
        One `CodedIteration` each: exact objective, seconds, responses per round, error estimate.
    rounds_
        A `RoundRecord` of every round, pre- and post-computation included.
    objective_
        The objective of the factors returned, computed from R itself.
    converged_
        Whether the factors are proved to be within `tolerance` of the optimum.
    outcome_
        ``"converged"``; ``"undecided"`` where rounding hides whether they are (centring the data or a larger tolerance
        helps), or coarse decoding; ``"unfinished"`` where `iterations` ended the fit.
    remedy_
        The remedy for another outcome than ``"converged"``, for people; None after that.
    unique_
        Whether no other product U V^T is as good: False where singular values are equal across the cut after the d-th, so
        that the choice among them is a rule's (`tied_values_`); None where the fit has not converged.
    tied_values_
        The equal singular values at the cut, of the matrix factorized; none where `unique_`. Which of their vectors the
        factors hold depends on the data alone, unless all of some sixty further directions are tied too, or the values are
        equal to rounding only and the choice would cost more than the tolerance: then on the run.
    code_
        SPEC of the code that the fit used, nothing left open.
    precomputation_
        Place where D was formed: ``"local"``, ``"coded"`` or ``"none"``.
    code_reason_
        Why this code, for people: ``"as asked"``, or the reason of the choice of ``code="auto"``.
    left_out_
        The workers with responses that did not count because they were wrong, or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS
    >>> ratings = np.outer([1.0, 2.0, 3.0], [1.0, 0.0, 1.0, 2.0])
    >>> model = CodedALS(rank=1, partitions=2).fit(ratings)
    >>> np.allclose(model.user_factors_ @ model.item_factors_.T, ratings)
    True
    """

    kind = "coded"
    _entry = CodedIteration
    _folding: Array | None = None  # of new users, made at the first
    _results = (
        "converged_", "outcome_", "remedy_", "unique_", "tied_values_", "objective_", "code_", "code_reason_",
        "precomputation_", "left_out_",
    )  # fmt: skip

    def __init__(
        self,
        rank: int = 20,
        *,
        code: str = "auto",
        partitions: int | None = None,
        regularization: float = 0.0,
        protocol: ProtocolName = "fused",
        solver: str = "krylov",
        block: int | Literal["auto"] = "auto",
        iterations: int = 500,
        tolerance: float = 5e-9,
        decoding_tolerance: float | None = None,
        precomputation: Where = "auto",
        weighting: Weighting = "none",
        center: Center | None = None,
        seed: int | None = None,
        rng: RNG = None,
        verify: Verify = "off",
        dtype: ShareType = "float64",
        memory_per_worker: float | None = None,
    ) -> None:
        self.rank, self.regularization = rank, regularization
        self.code, self.partitions, self.protocol, self.solver, self.block = code, partitions, protocol, solver, block
        self.iterations, self.tolerance, self.decoding_tolerance = iterations, tolerance, decoding_tolerance
        self.precomputation, self.weighting, self.center = precomputation, weighting, center
        self.verify, self.dtype, self.memory_per_worker = verify, dtype, memory_per_worker
        self.seed = seed_from(seed, rng)

    def fit(
        self,
        ratings: Any,
        cluster: Cluster | None = None,
        *,
        columns: Sequence[str] | None = None,
        callback: Callbacks | None = None,
        progress: bool = False,
        checkpoint: Checkpoint | None = None,
        spread: Spread | None = None,
        start: FactorModel | None = None,
    ) -> Self:
        """Factorize R.

        Parameters
        ----------
        ratings
            R, (m, n), dense, masked or scipy sparse; missing values count as zero. Or the
            ratings that `coded_als.data.load_ratings` returned, or a table of ratings, such as a DataFrame.
        cluster
            Cluster that runs the rounds; by default one in this process. It is not closed.
        columns
            Names of the columns of a table: users, items and perhaps ratings.
        callback
            Called after each iteration with its `CodedIteration` or, if it takes two arguments, with that and the model
            as it stands; the fit ends where it returns True. One, or several.
        progress
            Whether to draw a progress bar.
        checkpoint
            Folder of the state, which is kept before each iteration, or before some. A fit that goes on from there reaches the same
            factors, also with other workers and another code.
        spread
            The `Spread` that `plan` returned for this matrix and cluster; planned here unless given.
        start
            A fitted model to go on from: its factors of the users or items that it knows, by id, at any rank, are columns
            of the first block. The proof does not rest on them: the data are asked for directions that they lack.

        Raises
        ------
        UsageError
            For parameters that do not fit the matrix or the cluster, a checkpoint of another fit, and a start without a user
            or item of the ratings.
        NotEnoughWorkers
            When fewer workers respond than the code needs.
        DecodingError
            When the estimated error of all responses is above the tolerance.
        """
        matrix, ids = named_matrix(ratings, columns)
        matrix = checked_ratings(matrix, narrow=True)
        asked = self._checked()
        if spread is None:
            cluster = cluster or InlineCluster(1 if asked is None else asked.fewest_workers)
            spread = self._spread(asked, self._extent(matrix), cluster.size, cluster.delays, cluster.machine)
        elif cluster is None:
            raise UsageError("cluster must be the one that the spread is planned for; got none. Pass both to fit.")
        else:
            self._require_planned(spread, min(matrix.shape))
        warm = Start.of(start, matrix, ids, checkpoint)
        with (
            reporting(callback, progress, self) as report,
            recording(self, matrix, report, checkpoint, cluster.seconds, FREE, CodedIteration, ids=ids) as run,
            Scope(cluster) as scope,
            one_blas_thread() if self._is_small(matrix, spread.columns) else nullcontext(),
        ):
            self._fit(matrix, spread, verified(scope, self.verify), run, warm)
        return self if ids is None else self.set_ids(*ids)

    def _is_small(self, ratings: Any, columns: int) -> bool:
        """Whether the products of a round with so many columns, and the algebra of a space of twice the rank, are small."""
        entries = 0 if sparse.issparse(ratings) else ratings.size
        return bool((2 * self.rank * min(ratings.shape) + entries) * 2 * columns < SMALL)

    def _fit(self, ratings: Any, spread: Spread, cluster: Cluster, run: FitRecorder, warm: Start | None) -> None:
        """Factorize checked ratings in a scope of their own."""
        matrix, mean = weighted(ratings, self.weighting)
        matrix, unit = in_unit(matrix)
        (problem, means), log = centred_problem(matrix, self.center), RoundLog(cluster)
        held = spread.give_out(problem, log, self.decoding_error(spread.code), np.dtype(self.dtype))
        of_users, of_items = (None if one is None else one * unit for one in (means.rows, means.columns))
        keep = partial(
            self._keep, user_biases=of_users, item_biases=of_items, global_mean=mean, seen=seen_pattern(ratings)
        )
        keep(*self.factorize(problem, held, log, spread, unit, run, warm, keep))

    def _extent(self, ratings: Any) -> Extent:
        """The size of checked ratings."""
        return extent_of(Problem.of(ratings), centred=self.center is not None)

    def factorize(
        self,
        problem: Problem,
        held: DistributedData,
        log: RoundLog,
        spread: Spread,
        unit: float,
        run: FitRecorder,
        warm: Start | None = None,
        keep: Callable[[Array, Array], None] | None = None,
    ) -> tuple[Array, Array]:
        """Return the factors of data that the workers hold, (m, d) and (n, d); everything else that a fit leaves is kept.

        Parameters
        ----------
        problem
            The data, in its unit.
        held
            The same on the workers.
        log
            Where rounds run.
        spread
            The code, and where D is formed.
        unit
            The divisor of the data.
        run
            Records the iterations and keeps the state.
        warm
            A start other than the random one.
        keep
            Takes both factors, for callbacks that ask for the model between two iterations.
        """
        decoding = self.decoding_error(spread.code)
        # of the largest entry: from 1e100 on all factors are zero anyhow, and below 1e-30 it is none but for the rank
        ridge = min(max(self.regularization / unit, 1e-30), 1e100) if self.regularization > 0 else 0.0
        stopping = Stopping(problem, self.rank, ridge, self.tolerance)
        start = np.random.default_rng(self.seed).standard_normal((problem.length, spread.columns))
        begun = spread.columns
        if warm is not None:
            # the other side's factors times R, as in half of an ALS iteration: new ratings of known rows count at once
            other = warm.items if problem.transposed else warm.users
            begun = min(
                self.rank, begun - begin_from(start, problem.adjoint(other.factors.astype(np.float64)), self.rank)
            )
            stopping.warm, stopping.block = True, begun if spread.columns > self.rank else None
        publish = None if keep is None else partial(self._publish, problem, ridge, unit, run, keep)
        recorder = Recorder(run, log, stopping, unit, publish)
        given = SolverInput(
            held, problem, start, begun, self.rank, self.iterations, ridge, recorder, self.protocol, log, spread.code,
            decoding,
        )  # fmt: skip
        basis, weights = solver_of(self.solver)(given)
        verified, tied = stopping.verified, np.empty(0)
        if stopping.may_be_tied:
            cut = resolved_cut(problem, basis, self.rank, stopping.spare)
            stopping.concede(cut.lost)
            basis, weights, tied, verified = cut.basis, cut.basis, cut.tied, None
        error = max(record.error_estimate for record in log.records)
        # products decoded worse than they should be are no evidence of the rank of the data, and the last is in float64
        told = min(error, decoding) / growth_of(np.dtype(self.dtype))
        triplets = verified or singular_triplets(basis, held.product(weights))
        best = BestFactors.of(triplets, self.rank, ridge, max(told, problem.rounding))
        objective, moved = best.measured(problem) if verified is None else (stopping.objective, 0.0)
        self.outcome_: Outcome = recorder.conclude(objective, moved)
        self.converged_ = self.outcome_ == "converged"
        is_over = run.ended and not self.converged_
        self.remedy_ = ENDED if is_over else remedy_of(self.outcome_, error, decoding, self.dtype)
        self.unique_ = tied.size == 0 if self.converged_ else None
        self.tied_values_: tuple[float, ...] = tuple((np.sqrt(np.maximum(tied, 0.0)) * unit).tolist())
        self.objective_ = objective * unit**2
        other, factor = (part * np.sqrt(unit) for part in best.factors)
        self.history_: list[CodedIteration] = recorder.history
        self.rounds_: list[RoundRecord] = log.records
        self.code_, self.precomputation_ = spread.code.spec, spread.precomputation
        self.code_reason_ = spread.reason
        self.left_out_ = log.left_out
        return (factor, other) if problem.transposed else (other, factor)

    def _publish(
        self,
        problem: Problem,
        ridge: float,
        unit: float,
        run: FitRecorder,
        keep: Callable[[Array, Array], None],
        pairs: RitzPairs,
    ) -> None:
        """Take over the best factors on the vectors of an iteration, computed at the master."""
        found = min(self.rank, pairs.values.size)
        best = BestFactors.of(singular_triplets(pairs.vectors, problem.image(pairs.vectors)), found, ridge, 0.0)
        other, factor = (np.pad(part * np.sqrt(unit), ((0, 0), (0, self.rank - found))) for part in best.factors)
        self.history_, self.objective_ = run.entries, run.entries[-1].objective
        self.outcome_, self.converged_, self.remedy_ = "unfinished", False, ENDED
        self.unique_, self.tied_values_ = None, ()
        keep(*((factor, other) if problem.transposed else (other, factor)))

    def plan(
        self, ratings: Any, workers: int, delays: str | DelayModel | None = None, machine: Machine | None = None
    ) -> Spread:
        """Check the parameters against a matrix and a cluster before anything starts, and choose the scheme for `fit`.

        Parameters
        ----------
        ratings
            R, (m, n), an array or a scipy sparse matrix.
        workers
            Number of workers W.
        delays
            Delays that the workers will meet; None where they are not known.
        machine
            Speeds of a worker and its link; a common machine unless given.

        Returns
        -------
        The choice, which ``fit(spread=...)`` takes.

        Raises
        ------
        UsageError
            For parameters that do not fit the matrix or the workers.
        """
        return self.spread_over(self._extent(ratings), workers, delays, machine)

    def spread_over(
        self, extent: Extent, workers: int, delays: str | DelayModel | None = None, machine: Machine | None = None
    ) -> Spread:
        """Return the code and the place of D, as `plan` chooses them, for a matrix of which only the extent is known.

        Parameters
        ----------
        extent
            Rows, columns and nonzeros of the matrix.
        workers
            Number of workers W.
        delays
            Delays that the workers will meet; None where they are not known.
        machine
            Speeds of a worker and its link; a common machine unless given.

        Returns
        -------
        The choice, which ``fit(spread=...)`` takes.

        Raises
        ------
        UsageError
            For parameters that do not fit the extent or the workers.
        """
        return self._spread(self._checked(), extent, workers, delays, Machine() if machine is None else machine)

    def decoding_error(self, code: CodeSpec) -> float:
        """Return the relative error that a product decoded by a code may have."""
        if self.decoding_tolerance is not None:
            return self.decoding_tolerance
        return tolerance_in(code.tolerance, np.dtype(self.dtype))

    def _checked(self) -> CodeSpec | None:
        """The requested code, None where the choice is open, after all checks that need no matrix."""
        require_one_of("protocol", self.protocol, get_args(ProtocolName))
        require_one_of("solver", self.solver, tuple(SOLVERS))
        require_one_of("precomputation", self.precomputation, get_args(Where))
        require_one_of("weighting", self.weighting, get_args(Weighting))
        if self.center is not None:
            require_one_of("center", self.center, get_args(Center))
        require_one_of("verify", self.verify, VERIFY)
        require_one_of("dtype", self.dtype, get_args(ShareType))
        if self.protocol == "paper" and self.dtype != "float64":
            raise UsageError("protocol 'paper' calculates in float64; got dtype 'float32'. Use protocol='fused'.")
        if self.solver not in (able := solvers_of(self.protocol)):
            raise UsageError(
                f"protocol {self.protocol!r} is defined for solver {able[0]!r}; got {self.solver!r}. "
                f"Use protocol='fused' or solver={able[0]!r}."
            )
        require_whole("rank", self.rank, 1)
        require_whole("iterations", self.iterations, 1)
        require_whole("seed", self.seed, 0)
        if self.block != "auto":
            require_whole("block", self.block, 1)
            if not SOLVERS[self.solver].widths:
                free = [name for name, solver in SOLVERS.items() if solver.widths]
                raise UsageError(
                    f"block must be 'auto' for solver {self.solver!r}, whose block has one width; got {self.block}. "
                    f"Use block='auto' or solver={free[0]!r}."
                )
        require_number("regularization", self.regularization)
        require_number("tolerance", self.tolerance)
        if self.memory_per_worker is not None:
            require_number("memory_per_worker", self.memory_per_worker, positive=True)
        if self.decoding_tolerance is not None:
            require_number("decoding_tolerance", self.decoding_tolerance)
        return asked_code(self.code, self.partitions)

    def _require_planned(self, spread: Spread, length: int) -> None:
        """Refuse a spread that was planned for another rank, or for a matrix with another smaller side."""
        solver = SOLVERS[self.solver]
        if self.rank > length or not (solver.widths or spread.columns == solver.columns(self.rank, length)):
            raise UsageError(
                f"spread must be planned for this matrix and rank {self.rank}; got one for blocks of {spread.columns} "
                f"columns, and a smaller side of {length}. Call plan again."
            )

    def _spread(
        self, asked: CodeSpec | None, extent: Extent, workers: int, delays: str | DelayModel | None, machine: Machine
    ) -> Spread:
        """The spread over W workers, with the columns of the block that D is multiplied with.

        Raises UsageError for parameters that do not fit the data or the workers.
        """
        spread = self._spread_by_code(asked, extent, workers, delays, machine)
        return replace(spread, columns=self._columns(extent, workers, spread, delays, machine))

    def _columns(
        self, extent: Extent, workers: int, spread: Spread, delays: str | DelayModel | None, machine: Machine
    ) -> int:
        """Columns of the block that D is multiplied with: as asked, or those that are expected to take the least time."""
        solver = SOLVERS[self.solver]
        if self.block != "auto":
            return min(self.block, extent.length)
        if not solver.widths:
            return solver.columns(self.rank, extent.length)
        from coded_als.planner.choice import with_best_block
        from coded_als.planner.timing import Workload

        scheme = Scheme(spread.code.spec, workers, solver=solver.name, rows=spread.precomputation == "none")
        size = Size(extent.rows, extent.length, self.rank, extent.entries)
        workload = Workload(size, "none" if delays is None else delays, machine, self.decoding_tolerance)
        # a probe of data that the master does not hold takes rounds
        least = self.rank + 1 if extent.held else 1
        return with_best_block(scheme, workload, least).block_columns(size)

    def _spread_by_code(
        self, asked: CodeSpec | None, extent: Extent, workers: int, delays: str | DelayModel | None, machine: Machine
    ) -> Spread:
        """The spread over W workers by a code, with the reason for it."""
        if self.rank > extent.length:
            raise UsageError(
                f"rank must be between 1 and min(rows, columns) = {extent.length}; got {self.rank}. Lower rank."
            )
        if self.protocol == "paper":
            return self._paper_spread(asked, extent, workers, machine)
        columns = SOLVERS[self.solver].columns(self.rank, extent.length)
        memory = np.inf if self.memory_per_worker is None else self.memory_per_worker
        code = asked or self._auto(extent, workers, delays, machine, memory)
        return choose_spread(extent, workers, columns, code, self.precomputation, machine, memory)

    def _auto(
        self, extent: Extent, workers: int, delays: str | DelayModel | None, machine: Machine, memory: float
    ) -> ChosenCode:
        """The code that is taken where none is requested."""
        is_open = self.precomputation in ("auto", "none")
        size = Size(extent.rows, extent.length, self.rank, extent.entries if is_open else None)
        known = None if self.precomputation == "none" else delays
        return auto_code(size, workers, self.solver, known, machine, self.decoding_tolerance, memory)

    def _paper_spread(self, asked: CodeSpec | None, extent: Extent, workers: int, machine: Machine) -> Spread:
        """The spread of the paper's protocol: its own code, cut h x h, of a D that is formed."""
        if self.precomputation == "none":
            raise UsageError("protocol 'paper' needs D; got precomputation 'none'. Use protocol='fused'.")
        code = Entangled() if asked is None else asked
        spread = choose_spread(extent, workers, self.rank, code, self.precomputation, machine)
        square(spread.code)
        return spread if asked is not None else replace(spread, reason="chosen by auto: the paper's, for its protocol")

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Return the factors of new users, with the items held fixed: r V (V^T V + lam I)^-1, zeros where nothing is rated.

        Of a centred model r is less its own mean, which is the new user's bias, and less the means of the items.

        ``ratings``: one user as a mapping from item id to rating, or (k, n), dense or sparse, with the model's columns.

        Raises UsageError for an unknown item or another number of columns.
        """
        self._require_fitted()
        rows, _ = weighted(self._new_rows(ratings), self.weighting, self.global_mean_)
        biases = None
        if self.user_biases_ is not None:
            biases = row_means(rows)
        return NewUsers(self._folded(rows, biases), biases)

    def _folded(self, rows: Any, biases: Array | None) -> Array:
        """Factors of rows less their means and those of the items, (k, d)."""
        folder = self._folder()
        if biases is None and self.item_biases_ is None:
            return np.asarray(rows @ folder)
        means = np.zeros(rows.shape[1]) if self.item_biases_ is None else self.item_biases_
        if not sparse.issparse(rows):
            # before the product: afterwards the digits of a large mean would be lost
            return np.asarray((rows - means if biases is None else rows - biases[:, np.newaxis] - means) @ folder)
        factors = np.asarray(rows @ folder) - means @ folder
        return factors if biases is None else factors - np.outer(biases, folder.sum(axis=0))

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        rows, _ = weighted(self._row(columns, values), self.weighting, self.global_mean_)
        weights = self._folder() @ self.item_factors_[asked]
        if self.user_biases_ is not None:  # a rating moves the user's mean too
            weights += (1.0 - weights.sum()) / weights.size
        return rows.indices, np.asarray(rows.data * weights[rows.indices])

    def _base(self, asked: int) -> float:
        if self.item_biases_ is None:
            return super()._base(asked)
        return float(super()._base(asked) - (self.item_biases_ @ self._folder()) @ self.item_factors_[asked])

    def _new_rows(self, ratings: NewRatings) -> Any:
        if isinstance(ratings, Mapping):
            return self._row(*self._rated(ratings))
        length = len(self.item_factors_)
        ratings = checked_ratings(ratings)
        if ratings.shape[1] != length:
            raise UsageError(
                f"new users must have a column for each of {length} items; got {ratings.shape[1]}. Match the model."
            )
        return ratings

    def _row(self, columns: Integers, values: NDArray[np.float64]) -> sparse.csr_array:
        return sparse.csr_array((values, columns, [0, columns.size]), shape=(1, len(self.item_factors_)))

    def _folder(self) -> Array:
        """(n, d) V (V^T V + lam I)^-1, made at the first new user."""
        if self._folding is None:
            items = self.item_factors_
            self._folding = np.asarray(items @ inverse_of_gram(items.T @ items, self.regularization))
        return self._folding

    def _keep(self, *arguments: Any, **named: Any) -> None:
        super()._keep(*arguments, **named)
        self._folding = None
