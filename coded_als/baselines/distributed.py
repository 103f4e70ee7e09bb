"""Uncoded sparse ALS on a cluster: shards of users and items on workers, factors broadcast, a straggler policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.alternating import AlternatingModel, RatingProblem
from coded_als.baselines.closed_form import EASE
from coded_als.baselines.half_step import RatingFacts, Reading, Rows
from coded_als.checks import require_whole
from coded_als.cluster import AnyOfEach, Cluster, EnoughAndOverdue, Round, StoppingRule, all_of, first_copies
from coded_als.cluster.questions import EveryPiece, pieces_of_sum
from coded_als.cluster.scope import Scope, Shares
from coded_als.cluster.verification import Verify, verified
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.product import deal
from coded_als.data.tables import named_matrix
from coded_als.errors import UsageError
from coded_als.kernels import Stored, read_entries
from coded_als.models.checkpoint import Checkpoint, Snapshot
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import pattern, rating_matrix, row_block
from coded_als.models.starting import Start
from coded_als.models.training import Callbacks, FitRecorder, recording, reporting
from coded_als.specs import read_fields


class StragglerPolicy(Protocol):
    """Rules of a distributed half-step: the cut of rows into shards, their places, and the condition for its end."""

    def shards(self, workers: int) -> int:
        """Number of shards; worker w holds shard ``w % shards``."""
        ...

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        """When to go on; ``skipped[s]`` counts the rounds in a row that shard s has missed.

        ``workers``: W; ``skipped``: rounds in a row that each shard has missed.
        """
        ...


@dataclass(frozen=True)
class WaitForAll:
    """One shard per worker, every one of them needed."""

    def shards(self, workers: int) -> int:
        return workers

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        return all_of(workers)


@dataclass(frozen=True)
class FirstCopy:
    """Every shard on ``copies`` workers; the first response wins. ``copies`` must divide the number of workers.

    Long shards are cut into as many pieces as there are copies. Each worker of a shard begins at another piece, and the
    first response to each piece counts, so that the master uses the pieces that a straggler has finished. With ``verify``
    shards stay whole.

    Examples
    --------
    >>> from coded_als.baselines import FirstCopy
    >>> FirstCopy(copies=2).shards(6)  # three blocks, each on two of six workers
    3
    """

    copies: int = 2

    def __post_init__(self) -> None:
        require_whole("copies", self.copies, 1)

    def shards(self, workers: int) -> int:
        if workers % self.copies:
            raise UsageError(f"workers must be a multiple of copies={self.copies}; got {workers}. Change one of them.")
        return workers // self.copies

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        return first_copies(workers, len(skipped))


@dataclass(frozen=True)
class Partial:
    """Go on when ``wait_for`` shards have responded; the others keep their factors for now.

    A shard that has missed ``max_skips`` rounds of its side in a row is waited for, and so is every shard in the
    first round. The objective cannot rise, even if shards are skipped: a responded row is optimal, the others stand
    still.

    Examples
    --------
    >>> from coded_als.baselines import Partial
    >>> Partial(wait_for=4).shards(6)  # six blocks, and a half-step ends with four of them
    6
    """

    wait_for: int
    max_skips: int = 3

    def __post_init__(self) -> None:
        require_whole("wait_for", self.wait_for, 1)
        require_whole("max_skips", self.max_skips, 0)

    def shards(self, workers: int) -> int:
        if self.wait_for > workers:
            raise UsageError(f"wait_for must be at most the {workers} workers; got {self.wait_for}. Lower it.")
        return workers

    def rule(self, workers: int, skipped: Sequence[int]) -> StoppingRule:
        overdue = frozenset(shard for shard, rounds in enumerate(skipped) if rounds >= self.max_skips)
        return EnoughAndOverdue(self.wait_for, overdue)


POLICIES: dict[str, type[StragglerPolicy]] = {"wait": WaitForAll, "first-copy": FirstCopy, "partial": Partial}


def parse_policy(spec: str) -> StragglerPolicy:
    """The policy of a SPEC: ``wait``, ``first-copy:copies=2``, ``partial:wait_for=12,max_skips=3``.

    Raises
    ------
    UsageError
        For an unknown policy, and for an unknown, missing or unreadable parameter.

    Examples
    --------
    >>> parse_policy("partial:wait_for=12")
    Partial(wait_for=12, max_skips=3)
    """
    name = spec.partition(":")[0]
    if name not in POLICIES:
        raise UsageError(f"policy must be one of {', '.join(POLICIES)}; got {name!r}.")
    return POLICIES[name](**read_fields("policy", spec, POLICIES[name], _whole))


def _whole(key: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{key} must be a whole number; got {text!r}.")
    return int(text)


@dataclass(frozen=True, eq=False)
class BlockedRows:
    """The rows of one side in blocks, worker w holding block ``w % len(shards)``."""

    name: str  # under which the workers hold ``name.indptr``, ``name.indices`` and ``name.data``
    shards: Sequence[NDArray[np.int64]]  # row numbers of each block, -1 at the end of those that are filled up
    # ascending rows of the other side that each block has entries in, among which its ``indices`` count; None for all
    touched: Sequence[NDArray[np.int32] | None]
    lengths: NDArray[np.int64]  # (rows,) entries of each row

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the stored arrays."""
        return tuple(f"{self.name}.{part}" for part in ("indptr", "indices", "data"))


def fit_on_blocks(
    model: AlternatingModel,
    users: BlockedRows,
    items: BlockedRows,
    facts: RatingFacts,
    cluster: Cluster,
    policy: StragglerPolicy,
    run: FitRecorder,
    ratings: sparse.csr_array | None = None,
    warm: Start | None = None,
    *,
    seen: sparse.csr_array | None = None,
    stable: bool = False,
) -> None:
    """Fit a model to ratings that the workers hold, with exact half-steps for every ``solver``.

    ``ratings``: (m, n) where the master holds them too: then the arithmetic is float64, and ``history_`` and the ratings
    seen are theirs. Without, the arithmetic is that of ``model.fit``, the model knows of the ratings ``seen`` alone, and where
    a policy skips blocks, ``history_`` counts these as they last responded. ``stable``: as `Reading.stable`.
    """
    dtype = np.dtype(model.dtype if ratings is None else np.float64)
    scale, reading = model.reading(facts)
    reading = replace(reading, bits=8 * dtype.itemsize, stable=stable)
    shape = len(users.lengths), len(items.lengths)
    rows = [
        _hollow(lengths, model.ridge_of(lengths, others, scale, dtype))
        for lengths, others in zip((users.lengths, items.lengths), shape[::-1], strict=True)
    ]
    problem = RatingProblem(reading.mean, scale, *rows)
    user_side, item_side = (
        _BlockSide(blocks, side.ridge, model, scale, reading, cluster, policy)
        for blocks, side in zip((users, items), rows, strict=True)
    )
    at_master = None if ratings is None else _rows_of(ratings, reading, rows[0].ridge)
    penalty = model._penalty(scale)
    user_rows, item_rows = (side.astype(dtype) for side in model._start(problem, warm))
    kept = {} if at_master is not None else {"sums": user_side.sums}
    state = run.arrays(users=user_rows, items=item_rows, **kept)
    user_rows, item_rows, user_side.sums = state["users"], state["items"], state.get("sums", user_side.sums)
    run.go_on(partial(take_over_skipped, user_side, item_side))
    units = model._units(scale)
    if ratings is not None:
        seen = pattern(ratings.shape, ratings.indptr, ratings.indices)

    def publish() -> None:
        users, items = (side.astype(model.dtype) * units for side in (user_rows, item_rows))
        model._adopt(users, items, reading.mean, seen, run.entries)

    for _ in run.left(model.iterations):
        item_side.half_step(user_rows, item_rows)
        objective = user_side.half_step(item_rows, user_rows)
        if at_master is not None and any(user_side.skipped):
            # the sums of skipped blocks belong to earlier items
            objective = _objective(model, at_master, user_rows, item_rows)
        objective += float(problem.items.ridge @ (np.square(item_rows) @ penalty))
        state = {"users": user_rows, "items": item_rows} | ({} if at_master is not None else {"sums": user_side.sums})
        run.note(objective * scale * scale, state, publish, skipped=[user_side.skipped, item_side.skipped])
    publish()


def _hollow(lengths: NDArray[np.int64], ridge: Floats) -> Rows:
    """Rows of these lengths, (rows,), without their entries."""
    none = np.empty(0, ridge.dtype)
    return Rows(np.concatenate(([0], np.cumsum(lengths))), none, none, none, ridge)


def _rows_of(ratings: sparse.csr_array, reading: Reading, ridge: Floats) -> Rows:
    """All users at the master, (m, n)."""
    read = read_entries(ratings.data, ratings.indices, np.empty(0), reading.as_array())
    return Rows(ratings.indptr, ratings.indices, *read, ridge)


def _objective(model: AlternatingModel, rows: Rows, solution: Floats, fixed: Floats) -> float:
    """The objective of a model without biases, less the ridge of the fixed side, at any point, entry by entry."""
    gram = model._gram(fixed)
    total = model._constant(rows) + float(rows.ridge @ np.square(solution).sum(axis=1))
    if gram is not None:
        total += float(np.vdot(solution.T @ solution, gram))
    owners = np.repeat(np.arange(rows.count), rows.lengths)
    step = max(1, 2**22 // fixed.shape[1])
    for start in range(0, owners.size, step):
        part = slice(start, start + step)
        scores = np.einsum("ed,ed->e", solution[owners[part]], fixed[rows.indices[part]])
        total += float(scores @ (rows.curvature[part] * scores - 2 * rows.target[part]))
    return total


class _BlockSide:
    """The half-steps of one side."""

    def __init__(
        self,
        blocks: BlockedRows,
        ridge: Floats,
        model: AlternatingModel,
        scale: float,
        reading: Reading,
        cluster: Cluster,
        policy: StragglerPolicy,
    ) -> None:
        self._blocks, self._model, self._scale, self._reading = blocks, model, scale, reading.as_array()
        self._cluster, self._policy, self._checked = cluster, policy, reading.stable
        shards = len(blocks.shards)
        self.skipped = [np.iinfo(np.int32).max] * shards
        self.sums = np.zeros((shards, 2))
        self._entries = float(blocks.lengths.sum()) / shards
        padded = [np.where(rows >= 0, ridge[rows], 1.0).astype(np.float64) for rows in blocks.shards]
        self._ridge = f"{blocks.name}.ridge"
        workers = cluster.size
        cluster.store(self._ridge, Shares(workers, lambda: (padded[worker % shards] for worker in range(workers))))

    def half_step(self, other: Floats, current: Floats) -> float:
        """Solve the rows in place; the objective at them, less the ridge of the other side.

        ``other``: (n, d) the factor that is held fixed; ``current``: (rows, d) where the rows are; those of blocks that
        did not respond stay.
        """
        blocks, shards, width = self._blocks, len(self._blocks.shards), other.shape[1]
        height, rank = len(blocks.shards[0]), self._model.rank
        request = Round(
            "solve_block",
            operands=(*blocks.operands, self._ridge),
            payloads=self._payloads(other),
            response_shapes=((height, width), (2,)),
            operations=self._entries * rank**2 + height * rank**3 / 3,
            label=f"solve {blocks.name}",
        )
        rule = self._policy.rule(self._cluster.size, self.skipped)
        pieces = self._pieces(request, rule)
        found = self._summed(request, rule, pieces) if pieces > 1 else self._cluster.run(request, rule).results
        for worker, (_, sums) in found.items():
            self.sums[worker % shards] = sums
        solutions = {worker: result[0] for worker, result in found.items()}
        self.skipped = take_over(solutions, blocks.shards, self.skipped, current)
        explained, constant = self.sums.sum(axis=0).tolist()
        return float(constant - explained)

    def _pieces(self, request: Round, rule: StoppingRule) -> int:
        """Pieces of each block, where every block has copies that share its rows."""
        # a check of responses is that of whole blocks
        if self._checked or not isinstance(rule, AnyOfEach):
            return 1
        machine, shards = self._cluster.machine, len(self._blocks.shards)
        work_s = machine.computing_s(request.operations)
        return pieces_of_sum(self._cluster.size, shards, work_s, request.response_bytes, machine)

    def _summed(self, request: Round, rule: StoppingRule, pieces: int) -> dict[int, tuple[Array, ...]]:
        """Solution and sums of each block, as from a worker of that number, from the first copy to have done each piece."""
        height, width = request.response_shapes[0]
        request = replace(request, kernel="solve_pieces", response_shapes=((height + 2, width),))
        until = EveryPiece(rule, PieceLayout(self._cluster.size, pieces), summed=True)
        found = until.layout.sums(self._cluster.run(request, until).results, len(self._blocks.shards))
        return {block: (answer[:-2], answer[-2:, 0]) for block, answer in found.items()}

    def _payloads(self, other: Floats) -> list[tuple[Any, ...]]:
        """The part of the other factor that each worker needs: its touched rows, or all of it in one tuple."""
        touched, shards = self._blocks.touched, len(self._blocks.shards)
        solver = self._model._solver(other, self._scale, "cg")  # not solved with: it knows the fixed side's form
        offset = other[:, self._model.rank] if self._model.biases else np.empty(0)
        gram = np.empty((0, 0)) if solver.gram is None else solver.gram
        shared = (gram, solver.penalty)
        # one tuple for all that want all of it: it is held, and made ready to be sent, once
        whole = (solver.fixed, *shared, offset, self._reading)
        payloads: list[tuple[Any, ...]] = [
            whole
            if rows is None
            else (solver.fixed[rows], *shared, offset[rows] if offset.size else offset, self._reading)
            for rows in touched
        ]
        return [payloads[worker % shards] for worker in range(self._cluster.size)]


Distributed = TypeVar("Distributed", bound=AlternatingModel | EASE)


def fit_on_cluster(
    model: Distributed,
    ratings: Any,
    cluster: Cluster,
    policy: StragglerPolicy | None = None,
    *,
    columns: Sequence[str] | None = None,
    verify: Verify = "off",
    callback: Callbacks | None = None,
    progress: bool = False,
    checkpoint: Checkpoint | None = None,
    start: FactorModel | None = None,
) -> Distributed:
    """Fit an ALS model with its half-steps on the workers of a cluster, or `EASE` with its Gram matrix formed there.

    Workers calculate in float64 and solve every row exactly, for every ``dtype`` and ``solver`` of the model. If the
    policy skips no shard, stragglers do not change the result: it is that of ``model.fit``.

    Parameters
    ----------
    model
        A `RidgeALS` without biases, an `ImplicitALS`, or an `EASE`; it is fitted in place.
    ratings
        (m, n) scipy sparse.
    cluster
        Any `coded_als.cluster.Cluster`.
    policy
        `WaitForAll` (the default), `FirstCopy` or `Partial`.
    verify
        ``"freivalds"``: the residuals of every response are checked before it counts, and workers that send wrong
        numbers are left out, which only `FirstCopy` and `Partial` survive; ``"off"``.
    columns
        Names of the columns of a table: users, items and perhaps ratings.
    callback
        Function or functions that are called after each iteration, as for ``model.fit``.
    progress
        Whether to draw a progress bar.
    start
        Model of older ratings that the fit starts from, as for ``model.fit``.
    checkpoint
        Folder of the state, as for ``model.fit``. With a policy that skips shards the delays after a resumption decide which, so the fit that
        goes on is as good and not the same.

    Returns
    -------
    model
        With ``history_`` in seconds of the cluster's clock.

    Raises
    ------
    UsageError
        For a model with biases, bad ratings, a policy that does not suit the cluster, a checkpoint of another fit, or
        without numba.
    NotEnoughWorkers
        When the policy needs a worker that is gone.

    Examples
    --------
    >>> from coded_als import ImplicitALS, SimulatedCluster
    >>> from coded_als.baselines import FirstCopy, fit_on_cluster
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,density=0.3")
    >>> cluster = SimulatedCluster(6, delays="slow:n=1,delay=1s")
    >>> model = fit_on_cluster(ImplicitALS(rank=4, iterations=2), ratings, cluster, FirstCopy(copies=2))
    >>> sum(entry.seconds for entry in model.history_) < 1  # no round waited for the slow worker
    True
    """
    if isinstance(model, EASE):
        model._require_no_iterations(start=start, checkpoint=checkpoint)
        with Scope(cluster) as scope:
            form = partial(gram_on_workers, verified(scope, verify), WaitForAll() if policy is None else policy)
            return model._computed(ratings, columns, callback, progress, partial(model._fit_by, form))
    if model.biases:
        raise UsageError("a model on a cluster must have no biases; got biases=True. Pass biases=False.")
    model.require_installed()
    given, ids = named_matrix(ratings, columns)
    matrix, policy = rating_matrix(given, np.float64), WaitForAll() if policy is None else policy
    shards = policy.shards(cluster.size)
    also = {"policy": repr(policy), "shards": shards}
    warm = Start.of(start, matrix, ids, checkpoint)
    with (
        reporting(callback, progress, model) as report,
        Scope(cluster) as scope,
        recording(model, matrix, report, checkpoint, cluster.seconds, also=also, ids=ids) as run,
    ):
        checked = verified(scope, verify)
        users = _given_out("users", matrix, checked, shards)
        items = _given_out("items", rating_matrix(matrix.T.tocsr(), np.float64), checked, shards)
        least, largest = (float(extreme) for extreme in (matrix.data.min(), matrix.data.max()))
        facts = RatingFacts(matrix.nnz, float(matrix.data.mean()), least, largest, float(matrix.data @ matrix.data))
        fit_on_blocks(model, users, items, facts, checked, policy, run, matrix, warm, stable=verify != "off")
    return model if ids is None else model.set_ids(*ids)


def _given_out(name: str, matrix: sparse.csr_array, cluster: Cluster, shards: int) -> BlockedRows:
    """Cut the rows of a matrix, (rows, columns), into blocks and give them to the workers."""
    lengths = np.diff(matrix.indptr).astype(np.int64)
    rows = deal(lengths, shards)
    blocks = BlockedRows(name, rows, [None] * shards, lengths)

    def shares(part: int) -> Iterator[Stored]:
        for worker in range(cluster.size):
            yield row_block(matrix, rows[worker % shards])[part]

    for part, operand in zip((2, 1, 0), blocks.operands, strict=True):
        cluster.store(operand, Shares(cluster.size, partial(shares, part)))
    return blocks


def take_over(
    solutions: Mapping[int, Array], shards: Sequence[NDArray[np.int64]], skipped: Sequence[int], rows: Floats
) -> list[int]:
    """Write the workers' solutions into the rows, in place; return the rounds in a row that each shard has missed by now.

    ``solutions``: (height, d) by worker; worker w holds shard ``w % len(shards)``; ``rows``: (rows, d).
    """
    responded = set()
    for worker, solution in solutions.items():
        shard = worker % len(shards)
        held = shards[shard] >= 0
        rows[shards[shard][held]] = solution[held]
        responded.add(shard)
    return [0 if shard in responded else rounds + 1 for shard, rounds in enumerate(skipped)]


class Skips(Protocol):
    """A side that knows the rounds in a row that each of its shards has missed."""

    skipped: list[int]


def take_over_skipped(users: Skips, items: Skips, snapshot: Snapshot) -> None:
    """Let both sides know the rounds that their shards had missed when a snapshot was written."""
    sides, skipped = (users, items), snapshot.facts["skipped"]
    counts, wanted = [len(side) for side in skipped], [len(side.skipped) for side in sides]
    if counts != wanted or not all(type(rounds) is int and rounds >= 0 for side in skipped for rounds in side):
        raise ValueError(f"it has skipped {str(skipped)[:80]} of {wanted} shards")
    users.skipped, items.skipped = skipped


# Columns of a Gram matrix that the workers form in one round.
GRAM_COLUMNS = 256


def gram_on_workers(cluster: Cluster, policy: StragglerPolicy, matrix: sparse.csr_array) -> Array:
    """X^T X, (n, n), of the blocks of rows that workers hold, some columns in each round."""
    if isinstance(policy, Partial):
        raise UsageError("EASE needs every block; got a policy that skips some. Use wait or first-copy:copies=2.")
    shards = policy.shards(cluster.size)
    rows, count = _given_out("users", matrix, cluster, shards), matrix.shape[1]
    rule = policy.rule(cluster.size, [0] * shards)
    gram: Array = np.zeros((count, count), order="F")
    entries = max(int(rows.lengths[held[held >= 0]].sum()) for held in rows.shards)
    for first in range(0, count, GRAM_COLUMNS):
        columns = np.arange(first, min(first + GRAM_COLUMNS, count))
        unit = np.zeros((count, columns.size))
        unit[columns, columns - first] = 1.0
        round = Round(
            "row_gram_product",
            operands=rows.operands[::-1],
            payloads=[(unit,)] * cluster.size,
            response_shapes=(unit.shape,),
            operations=2.0 * entries * columns.size,
            label=f"X^T X, columns {first} to {columns[-1]}",
        )
        first_of: dict[int, Array] = {}
        for worker, response in cluster.run(round, rule).first().items():
            first_of.setdefault(worker % shards, response)
        for shard in range(shards):  # in the order of the blocks and not of arrival
            gram[:, columns] += first_of[shard]
    return gram
