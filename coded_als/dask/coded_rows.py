"""`CodedALS` on a dataset: rows of R in copies on the workers, and products with them, or with D summed up from them."""

from __future__ import annotations

from contextlib import ExitStack

from coded_als.als import CodedALS
from coded_als.als.estimator import FREE
from coded_als.als.history import CodedIteration
from coded_als.als.problem import DistributedProblem, unit_of
from coded_als.als.products import DistributedData, RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import FormedGram, rows_code
from coded_als.cluster.scope import Scope
from coded_als.codes import CodeSpec, Replicated, Uncoded
from coded_als.codes.replication import copies_of
from coded_als.dask.blocks import ARRAYS
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.dataset import Dataset, rating_facts
from coded_als.dask.placement import memory_for_gram, summed_gram
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.rating_matrix import require_factorable
from coded_als.models.training import Callback, recording
from coded_als.planner.schemes import Extent


def fit_coded_rows(
    model: CodedALS, dataset: Dataset, cluster: DaskCluster, report: Callback, checkpoint: Checkpoint | None = None
) -> None:
    """Fit a `CodedALS` without R at the master, and without D = R^T R where that is not formed sooner by counting.

    Raises UsageError for parameters that need R, or R^T R, at the master.
    """
    if model.protocol == "paper" or model.precomputation == "local" or model.verify != "off":
        raise UsageError(
            "a dataset is multiplied by its rows, where they are; got a protocol, precomputation or verification that "
            "needs more of them at the master. Use protocol='fused', verify='off', and precomputation='auto', 'none' or "
            "'coded'."
        )
    if model.center is not None or model.dtype != "float64":
        raise UsageError(
            f"a dataset is factorized as it is, in float64; got center={model.center!r}, dtype={model.dtype!r}. Use "
            "weighting='centred', or fit the ratings in memory with CodedALS(...).fit."
        )
    of_users = dataset.shape[0] >= dataset.shape[1]
    extent = _extent(dataset, cluster, of_users)
    spread = model.spread_over(extent, cluster.size, cluster.delays, cluster.machine)
    held_in = _copies(spread.code, cluster.size) if spread.precomputation == "coded" else spread.code
    shards = cluster.size // copies_of(held_in)
    mean = None
    with ExitStack() as resources:
        run = resources.enter_context(
            recording(model, dataset, report, checkpoint, cluster.seconds, FREE, CodedIteration)
        )
        if model.weighting == "centred":
            with dataset.place(cluster, of_users, shards) as plain:
                mean = rating_facts(plain.facts).mean
        placed = resources.enter_context(dataset.place(cluster, of_users, shards, (model.weighting, mean)))
        scope = resources.enter_context(Scope(cluster))
        facts, log = rating_facts(placed.facts), RoundLog(scope)
        largest = max(abs(facts.least), abs(facts.largest))
        require_factorable(largest, facts.squares)
        unit = unit_of(largest)
        entries = max(int(block.lengths.sum()) for block in placed.facts)
        rows = SparseRows(log, (extent.rows, extent.length), placed.rows, entries)
        for number, array in enumerate(ARRAYS):
            scope.store(f"rows.{array}", placed.shares(number))
        problem = DistributedProblem(rows, not of_users, unit, facts.squares)
        held: DistributedData = problem
        if spread.precomputation == "coded":
            gram = summed_gram(cluster.client, placed, problem.length, unit)
            held = FormedGram(log, spread.code, model.decoding_error(spread.code), gram, problem.product)
        users, items = model.factorize(problem, held, log, spread, unit, run)
    model._keep(users, items, global_mean=mean or 0.0)


def _extent(dataset: Dataset, cluster: DaskCluster, of_users: bool) -> Extent:
    """The size of the problem before data are distributed; both ratings of a repeated pair count."""
    source = dataset.source
    counts = source.users.counts if of_users else source.items.counts
    return Extent(max(dataset.shape), min(dataset.shape), counts, True, memory_for_gram(cluster.client))


def _copies(code: CodeSpec, workers: int) -> CodeSpec:
    """In how many copies rows lie beside a D that is spread by a code."""
    return code if isinstance(code, (Replicated, Uncoded)) else rows_code(None, workers)
