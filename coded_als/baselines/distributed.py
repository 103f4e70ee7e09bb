"""Uncoded sparse ALS on a cluster: shards of users and items on workers, factors broadcast, a straggler policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats
from coded_als.baselines.alternating import AlternatingModel
from coded_als.baselines.half_step import Rows
from coded_als.baselines.policies import StragglerPolicy, WaitForAll
from coded_als.cluster import Cluster, Round
from coded_als.cluster.scope import Scope
from coded_als.cluster.shares import Shares
from coded_als.cluster.verification import Verify, verified
from coded_als.codes.partition import deal
from coded_als.data.entrance import named_matrix
from coded_als.errors import UsageError
from coded_als.kernels import Stored
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.rating_matrix import rating_matrix
from coded_als.models.reporting import Callback, reporting
from coded_als.models.running import Run, running, shards_skipped

Distributed = TypeVar("Distributed", bound=AlternatingModel)

_OPERANDS = ("indptr", "indices", "curvature", "target", "ridge")


def fit_on_cluster(
    model: Distributed,
    ratings: Any,
    cluster: Cluster,
    policy: StragglerPolicy | None = None,
    *,
    columns: Sequence[str] | None = None,
    verify: Verify = "off",
    callback: Callback | None = None,
    progress: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Distributed:
    """Fit an ALS model with its half-steps on the workers of a cluster.

    Workers calculate in float64 and solve every row exactly, whatever the model's ``dtype`` and ``solver``. With a
    policy that skips nobody the result is that of ``model.fit``, whatever the stragglers do.

    Parameters
    ----------
    model
        A `RidgeALS` without biases or an `ImplicitALS`; it is fitted in place.
    ratings
        (m, n) scipy sparse.
    cluster
        Any `coded_als.cluster.Cluster`.
    policy
        `WaitForAll` (the default), `FirstCopy` or `Partial`.
    verify
        ``"freivalds"``: the residuals of every response are checked before it counts, and workers that send wrong
        numbers are left out, which only `FirstCopy` and `Partial` survive; ``"off"``.
    columns, callback, progress
        As in ``model.fit``.
    checkpoint
        As in ``model.fit``. With a policy that skips shards the delays after a resumption decide which, so the fit that
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
    """
    if model.biases:
        raise UsageError("a model on a cluster must have no biases; got biases=True. Pass biases=False.")
    model.require_installed()
    given, ids = named_matrix(ratings, columns)
    matrix, policy = rating_matrix(given, np.float64), WaitForAll() if policy is None else policy
    shards = policy.shards(cluster.size)
    with (
        reporting(callback, progress, type(model).__name__, model.iterations) as report,
        Scope(cluster) as scope,
        running(model, matrix, report, checkpoint, cluster.seconds, policy=repr(policy), shards=shards) as run,
    ):
        _fit(model, matrix, verified(scope, verify), policy, run)
    return model if ids is None else model.set_ids(*ids)


def _fit(
    model: AlternatingModel, matrix: sparse.csr_array, cluster: Cluster, policy: StragglerPolicy, run: Run
) -> None:
    """Fit a model where nobody else stores anything."""
    problem = model._problem(matrix, np.float64)
    user_side = _Side("users", model, problem.users, cluster, policy)
    item_side = _Side("items", model, problem.items, cluster, policy)
    users, items = (side.astype(np.float64) for side in model._start(problem))
    state = run.arrays(users=users, items=items)
    users, items = state["users"], state["items"]
    run.go_on(partial(take_over_skipped, user_side, item_side))
    for _ in run.left(model.iterations):
        items = item_side.half_step(users, items)
        users = user_side.half_step(items, users)
        held = float(item_side.rows.ridge @ np.square(items).sum(axis=1))
        objective = (user_side.objective(users, items) + held) * problem.scale * problem.scale
        run.note(objective, {"users": users, "items": items}, skipped=[user_side.skipped, item_side.skipped])
    model._publish(problem, users, items, matrix, run.history)


def take_over(
    solutions: Mapping[int, Array], shards: Sequence[NDArray[np.int64]], skipped: Sequence[int], rows: Floats
) -> list[int]:
    """Write what workers solved into the rows, in place; the rounds in a row that each shard has missed by now.

    Parameters
    ----------
    solutions
        (height, d) by worker; worker w holds shard ``w % len(shards)``.
    shards
        Row numbers of each, -1 where it is filled up.
    skipped
        Rounds in a row that each shard had missed before.
    rows
        (rows, d).
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


def take_over_skipped(users: Skips, items: Skips, facts: Mapping[str, Any]) -> None:
    """Let both sides know what their shards had missed when a snapshot was written.

    Parameters
    ----------
    users, items
        The sides.
    facts
        Of the snapshot.
    """
    users.skipped, items.skipped = shards_skipped(facts, len(users.skipped), len(items.skipped))


class _Side:
    """The rows of one side, cut into shards that the workers hold."""

    def __init__(
        self, name: str, model: AlternatingModel, rows: Rows, cluster: Cluster, policy: StragglerPolicy
    ) -> None:
        self._name, self._model, self._cluster, self._policy, self.rows = name, model, cluster, policy, rows
        shards = policy.shards(cluster.size)
        self._shards = deal(self.rows.lengths, shards)
        # every shard is needed once before any may be skipped: nothing random is ever published
        self.skipped = [int(np.iinfo(np.int32).max)] * shards
        for operand in _OPERANDS:
            cluster.store(f"{name}.{operand}", Shares(cluster.size, partial(self._shares, operand)))

    def half_step(self, fixed: Array, current: Array) -> Array:
        """The rows after one round; those of shards that did not respond are as before."""
        rank, height = fixed.shape[1], len(self._shards[0])
        gram = self._model._gram(fixed)
        payload = (fixed, np.zeros((rank, rank)) if gram is None else np.asarray(gram, dtype=np.float64))
        entries = self.rows.indices.size / len(self._shards)
        request = Round(
            "solve_rows",
            operands=tuple(f"{self._name}.{operand}" for operand in _OPERANDS),
            payloads=[payload] * self._cluster.size,
            response_shapes=((height, rank),),
            operations=entries * rank**2 + height * rank**3 / 3,
            label=f"solve {self._name}",
        )
        responses = self._cluster.run(request, self._policy.rule(self._cluster.size, self.skipped))
        updated = current.copy()
        self.skipped = take_over(responses.first(), self._shards, self.skipped, updated)
        return updated

    def objective(self, solution: Array, fixed: Array) -> float:
        """The model's objective without the ridge of the fixed side, at any point, row by row."""
        gram = self._model._gram(fixed)
        total = self._model._constant(self.rows) + float(self.rows.ridge @ np.square(solution).sum(axis=1))
        if gram is not None:
            total += float(np.vdot(solution.T @ solution, gram))
        owners = np.repeat(np.arange(self.rows.count), self.rows.lengths)
        step = max(1, 2**22 // fixed.shape[1])
        for start in range(0, owners.size, step):
            part = slice(start, start + step)
            scores = np.einsum("ed,ed->e", solution[owners[part]], fixed[self.rows.indices[part]])
            total += float(scores @ (self.rows.curvature[part] * scores - 2 * self.rows.target[part]))
        return total

    def _shares(self, operand: str) -> Iterator[Stored]:
        for worker in range(self._cluster.size):
            yield _cut(self.rows, self._shards[worker % len(self._shards)])[operand]


def _cut(rows: Rows, shard: NDArray[np.int64]) -> dict[str, Stored]:
    """What the kernel needs to know of a shard's rows; those that fill up have no entries."""
    held = shard >= 0
    lengths = np.where(held, rows.lengths[shard], 0)
    # all entries of the held rows, in their order: starts repeated, plus a count within each row
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    entries = np.repeat(np.where(held, rows.indptr[shard], 0), lengths) + within
    return {
        "indptr": np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
        "indices": rows.indices[entries].astype(np.int32),
        "curvature": np.asarray(rows.curvature[entries], dtype=np.float64),
        "target": np.asarray(rows.target[entries], dtype=np.float64),
        "ridge": np.where(held, rows.ridge[shard], 1.0),
    }
