"""`CodedALS` on a dataset: rows of R in copies on the workers, and products with them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from coded_als.als import CodedALS
from coded_als.als.held_problem import HeldProblem
from coded_als.als.history import Recorder
from coded_als.als.parameters import FREE, check_parameters
from coded_als.als.rounds import RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import Spread, copies_of, rows_code
from coded_als.als.transforms import unit_of
from coded_als.cluster.scope import Scope
from coded_als.dask.blocks import ARRAYS
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.dataset import Dataset, rating_facts
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, flushed
from coded_als.models.rating_matrix import require_factorable
from coded_als.models.reporting import Callback
from coded_als.models.resuming import resumed


def fit_coded_rows(
    model: CodedALS, dataset: Dataset, cluster: DaskCluster, report: Callback, checkpoint: Checkpoint | None = None
) -> None:
    """Fit a `CodedALS` without R^T R, and without R at the master.

    Parameters
    ----------
    model
        Fitted in place; it knows of no rating seen.
    dataset
        The ratings.
    cluster
        Whose workers hold the rows.
    report
        Called with each iteration.
    checkpoint
        As of `coded_als.CodedALS.fit`.

    Raises
    ------
    UsageError
        For parameters that need R, or R^T R, at the master.
    """
    check_parameters(model.get_params())
    if model.protocol == "paper" or model.precomputation not in ("auto", "none") or model.verify != "off":
        raise UsageError(
            "a dataset is multiplied by its rows, where they are; got a protocol, precomputation or verification that "
            "needs more of them at the master. Use protocol='fused', precomputation='none' and verify='off'."
        )
    length = min(dataset.shape)
    if model.rank > length:
        raise UsageError(f"rank must be between 1 and min(rows, columns) = {length}; got {model.rank}. Lower rank.")
    snapshot = resumed(checkpoint, model, dataset, FREE)
    code = rows_code(model.code, model.partitions, cluster.size)
    shards, of_users = cluster.size // copies_of(code), dataset.shape[0] >= dataset.shape[1]
    mean = None
    if model.weighting == "centred":
        with dataset.plant(cluster, of_users, shards) as plain:
            mean = rating_facts(plain.facts).mean
    with ExitStack() as resources:
        planted = resources.enter_context(dataset.plant(cluster, of_users, shards, (model.weighting, mean)))
        scope = resources.enter_context(Scope(cluster))
        facts, log = rating_facts(planted.facts), RoundLog(scope)
        largest = max(abs(facts.least), abs(facts.largest))
        require_factorable(largest, facts.squares)
        unit = unit_of(largest)
        entries = max(int(block.lengths.sum()) for block in planted.facts)
        shape = dataset.shape if of_users else dataset.shape[::-1]
        rows = SparseRows(log, shape, planted.rows, entries)
        for number, array in enumerate(ARRAYS):
            scope.store(f"rows.{array}", planted.shares(number))
        problem = HeldProblem(rows, not of_users, unit, facts.squares)
        recorded = partial(Recorder, report=report, checkpoint=checkpoint, snapshot=snapshot)
        resources.enter_context(flushed(checkpoint))
        users, items = model.factorise(problem, problem, log, Spread(code, "none"), unit, recorded)
    model._keep(users, items, global_mean=mean or 0.0)
