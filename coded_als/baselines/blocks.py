"""ALS on blocks of rows that the workers hold already: the master knows how many entries there are, and none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats
from coded_als.baselines.alternating import AlternatingModel, RatingProblem
from coded_als.baselines.distributed import take_over, take_over_skipped
from coded_als.baselines.half_step import Rows
from coded_als.baselines.policies import StragglerPolicy
from coded_als.baselines.reading import RatingFacts, Reading
from coded_als.cluster import Cluster, Round
from coded_als.cluster.shares import Shares
from coded_als.models.running import Run


@dataclass(frozen=True, eq=False)
class BlockedRows:
    """The rows of one side in blocks, worker w holding block ``w % len(shards)``.

    Parameters
    ----------
    name
        Under which the workers hold ``name.indptr``, ``name.indices`` and ``name.data``.
    shards
        Row numbers of each block, -1 at the end of those that are filled up.
    touched
        Ascending rows of the other side that each block has entries in, among which its ``indices`` count; None for all.
    lengths
        (rows,) entries of each row.
    """

    name: str
    shards: Sequence[NDArray[np.int64]]
    touched: Sequence[NDArray[np.int32] | None]
    lengths: NDArray[np.int64]

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
    run: Run,
) -> None:
    """Fit a model whose ratings the workers hold; it knows of no rating seen.

    The arithmetic is that of ``model.fit``, in the model's ``dtype``, with exact half-steps whatever its ``solver``.
    Where a policy skips blocks, ``history_`` counts these as they last responded.

    Parameters
    ----------
    model
        Fitted in place.
    users, items
        The rows of both sides.
    facts
        Of the ratings.
    cluster
        Holds both sides.
    policy
        When a half-step may end.
    run
        Told of each iteration.
    """
    scale, reading = model.reading(facts)
    problem = RatingProblem(
        reading.mean,
        scale,
        _hollow(model, users.lengths, len(items.lengths), scale),
        _hollow(model, items.lengths, len(users.lengths), scale),
    )
    user_side = _BlockSide(users, problem.users, model, scale, reading, cluster, policy)
    item_side = _BlockSide(items, problem.items, model, scale, reading, cluster, policy)
    penalty = model._penalty(scale)
    user_rows, item_rows = model._start(problem)
    state = run.arrays(users=user_rows, items=item_rows, sums=user_side.sums)
    user_rows, item_rows, user_side.sums = state["users"], state["items"], state["sums"]
    run.go_on(partial(take_over_skipped, user_side, item_side))
    for _ in run.left(model.iterations):
        item_side.half_step(user_rows, item_rows)
        explained, constant = user_side.half_step(item_rows, user_rows)
        held = float(problem.items.ridge @ (np.square(item_rows) @ penalty))
        state = {"users": user_rows, "items": item_rows, "sums": user_side.sums}
        skipped = [user_side.skipped, item_side.skipped]
        run.note((constant - explained + held) * scale * scale, state, skipped=skipped)
    units = model._units(scale)
    model._adopt(user_rows * units, item_rows * units, reading.mean, None, run.history.entries)


def _hollow(model: AlternatingModel, lengths: NDArray[np.int64], others: int, scale: float) -> Rows:
    """Rows of these lengths without their entries."""
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    none = np.empty(0, np.dtype(model.dtype))
    return Rows(indptr, none, none, none, model.ridge_of(lengths, others, scale))


class _BlockSide:
    """The half-steps of one side."""

    def __init__(
        self,
        blocks: BlockedRows,
        rows: Rows,
        model: AlternatingModel,
        scale: float,
        reading: Reading,
        cluster: Cluster,
        policy: StragglerPolicy,
    ) -> None:
        self._blocks, self._model, self._scale, self._reading = blocks, model, scale, reading.as_array()
        self._cluster, self._policy = cluster, policy
        shards = len(blocks.shards)
        self.skipped = [np.iinfo(np.int32).max] * shards
        self.sums = np.zeros((shards, 2))
        self._entries = float(blocks.lengths.sum()) / shards
        ridge = [_padded(rows.ridge, shard) for shard in blocks.shards]
        self._ridge = f"{blocks.name}.ridge"
        workers = cluster.size
        cluster.store(self._ridge, Shares(workers, lambda: (ridge[worker % shards] for worker in range(workers))))

    def half_step(self, other: Floats, current: Floats) -> tuple[float, float]:
        """Solve the rows in place; what they explain of the objective, and its constant.

        Parameters
        ----------
        other
            (n, d) the factor that is held fixed.
        current
            (rows, d) where the rows are; those of blocks that did not respond stay.
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
        responses = self._cluster.run(request, self._policy.rule(self._cluster.size, self.skipped))
        solutions = {worker: result[0] for worker, result in responses.results.items()}
        for worker, (_, sums) in responses.results.items():
            self.sums[worker % shards] = sums
        self.skipped = take_over(solutions, blocks.shards, self.skipped, current)
        explained, constant = self.sums.sum(axis=0).tolist()
        return explained, constant

    def _payloads(self, other: Floats) -> list[tuple[Any, ...]]:
        """What each worker needs of the other factor: its touched rows, or all of it in one tuple."""
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


def _padded(ridge: Floats, shard: NDArray[np.int64]) -> Array:
    return np.where(shard >= 0, ridge[shard], 1.0).astype(np.float64)
