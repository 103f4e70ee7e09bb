"""Fits of datasets in blocks that Dask brings to the workers.

`CodedALS` has rows of R in copies on the workers, and multiplies with them, or with D summed up from them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from distributed import Client
from scipy.sparse import csr_array

from coded_als.als import CodedALS
from coded_als.als.estimator import FREE
from coded_als.als.history import CodedIteration
from coded_als.als.problem import DistributedProblem, unit_of
from coded_als.als.products import DistributedData, RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import FormedGram, rows_code
from coded_als.arrays import Array
from coded_als.baselines.alternating import AlternatingModel
from coded_als.baselines.closed_form import EASE
from coded_als.baselines.distributed import StragglerPolicy, WaitForAll, fit_on_blocks
from coded_als.cluster.scope import Scope
from coded_als.codes import CodeSpec, Replicated, Uncoded
from coded_als.codes.product import deal
from coded_als.codes.replication import copies_of
from coded_als.dask.blocks import ARRAYS, PartEntries, sorted_entries
from coded_als.dask.cluster import DaskCluster, dask_workers
from coded_als.dask.dataset import Dataset, blocked_rows, rating_facts
from coded_als.dask.placement import (
    HELD_AT_ONCE,
    Moved,
    PlacedBlocks,
    Source,
    cut_of,
    entries_by_block,
    gathered,
    memory_for_gram,
    settled,
    summed_gram,
)
from coded_als.data.ratings import Repeated
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import (
    HEADER,
    PartRows,
    TopNTask,
    new_folder,
    parts_of,
    sides_of,
    top_n_of_part,
    write_header,
    write_part,
    write_top_n_folder,
)
from coded_als.models.rating_matrix import pattern, require_factorable
from coded_als.models.starting import Start
from coded_als.models.training import Callbacks, FitRecorder, Report, recording, reporting, takes_model
from coded_als.planner.schemes import Extent
from coded_als.worker.parts import PartFolder

UNFINISHED = ".tmp"


def write_model(model: FactorModel, dataset: Dataset, cluster: DaskCluster, path: str | Path) -> None:
    """Write a fitted model as a folder, with the items that each user has rated; `coded_als.load_model` reads it.

    The present Dask workers read these items from the part files again: those that held blocks of the fit, and our workers
    beside them, may be gone.

    Parameters
    ----------
    model
        A model that `fit_dataset` fitted.
    dataset
        The ratings that it was fitted to.
    cluster
        The cluster of the Dask workers that write; they must have the folder under the same path.
    path
        Folder of the model; one that is there is replaced once the new one is complete.

    Raises
    ------
    UsageError
        When the folder cannot be written, here or there.
    CodedALSError
        When Dask workers kept going, or none is left.

    Examples
    --------
    >>> from coded_als.dask import write_model
    >>> write_model(model, dataset, cluster, "model/")  # doctest: +SKIP
    """
    users, items = sides_of(model)
    rows = [rows[rows >= 0] for rows in deal(dataset.source.users.counts, cluster.size)]
    with new_folder(path, HEADER) as folder:
        for side in ("users", "items"):
            (folder / side).mkdir()
        write_header(folder, model)
        write_part(folder / "items" / "00000.parquet", items)
        settled(lambda: _write_all_users(cluster.client, dataset.source, users, rows, folder / "users"))
        if len(parts_of(folder, "users")) != len(rows):
            raise UsageError(
                f"the Dask workers must have {path} under the same path; they wrote elsewhere. Use a shared disk."
            )
        for unfinished in (folder / "users").glob(f"*{UNFINISHED}"):
            unfinished.unlink()


def write_top_n_on(client: Client, model: str | Path, path: str | Path, n: int, filter_seen: bool) -> int:
    """Write the best items of every user of a model folder, part by part on Dask workers; how many users there are.

    Raises UsageError where something else is at ``path``.
    """

    def run(parts: list[TopNTask]) -> list[int]:
        found: list[int] = client.gather([client.submit(top_n_of_part, *part, pure=False) for part in parts])
        return found

    return write_top_n_folder(model, path, n, filter_seen, run)


def _write_all_users(client: Client, source: Source, users: PartRows, rows: Sequence[Any], folder: Path) -> None:
    """Write the users of each block, on all Dask workers that are there; `Moved` when one of them goes meanwhile."""
    homes = dask_workers(client)
    if not homes:
        raise Moved("none is left")
    cut = cut_of(rows, source.users.counts.size, source.items.counts.size, True)
    entries, _ = entries_by_block(client, source, cut)
    for shard, own in enumerate(rows):
        biases = None if users.biases is None else users.biases[own]
        part = PartRows(own, users.ids[own], users.factors[own], biases)
        file = str(folder / f"{shard:05d}.parquet")
        # one at a time: their factors are on the way here and there
        gathered(client, [client.submit(_write_users, part, entries[shard], source.repeated, file, pure=False)], homes)
        entries[shard] = []


def _write_users(part: PartRows, pieces: list[PartEntries], repeated: Repeated, file: str) -> None:
    rows, items, _, _ = sorted_entries(pieces, repeated)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(part.rows)))))
    # a task that is begun again may meet its predecessor
    unfinished = f"{file}.{secrets.token_hex(4)}{UNFINISHED}"
    write_part(unfinished, PartRows(part.rows, part.ids, part.factors, part.biases, indptr, items))
    os.replace(unfinished, file)


Blockwise = TypeVar("Blockwise", bound=Any)


def fit_dataset(
    model: Blockwise,
    dataset: Dataset,
    cluster: DaskCluster,
    policy: StragglerPolicy | None = None,
    *,
    callback: Callbacks | None = None,
    progress: bool = False,
    checkpoint: Checkpoint | None = None,
    start: FactorModel | None = None,
) -> Blockwise:
    """Fit a model to ratings that no machine holds as a whole.

    The result is that of ``model.fit`` on the same ratings, in the same arithmetic. The model knows its ids but not which
    ratings it has seen: those stay where they are (`coded_als.dask.write_model` writes them beside the factors).

    Parameters
    ----------
    model
        An `ImplicitALS`, a `RidgeALS`, a `CodedALS`, or an `EASE`; fitted in place. For a `CodedALS` the workers hold rows
        of R in copies and, if the count of operations prefers it, shares of D. For an `EASE` they form the Gram matrix;
        the model then holds which items each user has rated, five bytes for each.
    dataset
        The ratings.
    cluster
        The cluster of the workers that hold the blocks.
    policy
        `WaitForAll` (the default), `FirstCopy` or `Partial`; for the coded model its ``code`` says it.
    callback
        Function or functions that are called after each iteration, as for ``model.fit``. Where one takes the model, the
        model learns which items each user has rated, five bytes for each rating in this process.
    progress
        Whether to draw a progress bar.
    checkpoint
        Folder of the state, as for ``model.fit``; it is refused for part files that have changed. With a policy that skips blocks the delays
        after a resumption decide which, so the fit that goes on is as good and not the same.
    start
        A fitted model from which an ALS model goes on, as in ``model.fit``; new users and items begin at random, as the ratings are not here.

    Returns
    -------
    model

    Raises
    ------
    UsageError
        For ratings that the model cannot learn from, a policy that does not suit the cluster, a checkpoint of another
        fit, part files that have changed since ``dataset`` was found, or without numba where the model needs it.
    NotEnoughWorkers
        When the policy needs a worker that is gone.

    Examples
    --------
    >>> from coded_als import ImplicitALS
    >>> from coded_als.dask import DaskCluster, Dataset, fit_dataset
    >>> with DaskCluster(client) as cluster:  # doctest: +SKIP
    ...     dataset = Dataset.find(client, "ratings/*.parquet")
    ...     model = fit_dataset(ImplicitALS(rank=64), dataset, cluster)
    """
    model.require_installed()
    ids = dataset.user_ids, dataset.item_ids
    warm, shown = Start.of(start, dataset, ids, checkpoint, folds=False), takes_model(callback)
    with reporting(callback, progress, model) as report, _explained(cluster):
        if isinstance(model, CodedALS):
            if start is not None:
                raise UsageError(
                    "the proof of a coded fit from a model takes more rounds on part files than it saves; got start. Leave "
                    "it out."
                )
            if policy is not None:
                raise UsageError(
                    "the coded model is spread by its code; got a policy too. Pass code='replicated:copies=2'."
                )
            fit_coded_rows(model, dataset, cluster, report, checkpoint, shown)
        elif isinstance(model, EASE):
            if policy is not None or checkpoint is not None or start is not None:
                raise UsageError("EASE on part files takes no policy, checkpoint or start; got one. Leave it out.")
            with recording(model, dataset, report, None, cluster.seconds, ids=ids) as run:
                _fit_ease(model, dataset, cluster, run)
        else:
            chosen = WaitForAll() if policy is None else policy
            also = {"policy": repr(chosen), "shards": chosen.shards(cluster.size)}
            with recording(model, dataset, report, checkpoint, cluster.seconds, also=also, ids=ids) as run:
                _fit_alternating(model, dataset, cluster, chosen, run, warm, shown)
    model.set_ids(*ids)
    return model


@contextmanager
def _explained(cluster: DaskCluster) -> Iterator[None]:
    """Replace the error of a missing worker by the reason for which it refused to start, if that is known."""
    try:
        yield
    except NotEnoughWorkers as error:
        if cluster.starter.refusal is not None:
            raise cluster.starter.refusal from error
        raise


def _fit_ease(model: EASE, dataset: Dataset, cluster: DaskCluster, run: FitRecorder) -> None:
    """Sum up the Gram matrix on the Dask workers, and invert it here."""
    (users, items), limit = dataset.shape, memory_for_gram(cluster.client)
    if limit is not None and model.memory_bytes(items) > limit:
        raise UsageError(
            f"each Dask worker must hold {HELD_AT_ONCE} matrices of {items:,} x {items:,} items at once, "
            f"{model.memory_bytes(items) / 2**30:.1f} GiB each; got less memory. Raise it, or use ImplicitALS."
        )
    with dataset.place(cluster, True, cluster.size, ("binary", None)) as placed:
        seen = _seen(cluster, placed, (users, items))
        form = partial(_gram_without, cluster.client, placed)
        objective = model._fit_by(form, seen)
    model.history_ = run.entries
    run.close(objective, lambda: None)


def _gram_without(client: Client, placed: PlacedBlocks, seen: csr_array) -> Array:
    """The Gram matrix of blocks that workers hold."""
    return np.asfortranarray(summed_gram(client, placed, seen.shape[1], 1.0))


def _seen(cluster: DaskCluster, placed: PlacedBlocks, shape: tuple[int, int]) -> csr_array:
    """The places of the entries of a matrix, of which the workers hold blocks of rows."""

    def read() -> list[tuple[Any, Any]]:
        homes, client = placed.homes(), cluster.client
        made = [client.submit(_pattern, *home[1:], workers=[home[0]], pure=False) for home in homes.values()]
        return gathered(client, made, {home[0] for home in homes.values()})

    parts = settled(read)
    order = np.concatenate([rows[rows >= 0] for rows in placed.rows])
    counts = np.concatenate(
        [own[: np.count_nonzero(rows >= 0)] for (own, _), rows in zip(parts, placed.rows, strict=True)]
    )
    indices, indptr = np.concatenate([found for _, found in parts]), np.concatenate(([0], np.cumsum(counts)))
    return csr_array(pattern(shape, indptr, indices)[np.argsort(order)])


def _pattern(folder: str, first: int) -> tuple[Any, Any]:
    """Entries of each row of a block, (rows,), and their columns, (entries,)."""
    indptr, indices = (PartFolder(folder).read(first + number) for number in range(2))
    return np.diff(indptr), np.array(indices)


def _fit_alternating(
    model: AlternatingModel,
    dataset: Dataset,
    cluster: DaskCluster,
    policy: StragglerPolicy,
    run: FitRecorder,
    warm: Start | None,
    shown: bool,
) -> None:
    shards = policy.shards(cluster.size)
    with ExitStack() as placed:
        users, items = (placed.enter_context(dataset.place(cluster, side, shards)) for side in (True, False))
        scope = placed.enter_context(Scope(cluster))
        sides = [
            blocked_rows(one, name, scope, count)
            for one, name, count in zip((users, items), ("users", "items"), dataset.shape, strict=True)
        ]
        seen = _seen(cluster, users, dataset.shape) if shown else None
        fit_on_blocks(model, sides[0], sides[1], rating_facts(users.facts), scope, policy, run, warm=warm, seen=seen)


def fit_coded_rows(
    model: CodedALS,
    dataset: Dataset,
    cluster: DaskCluster,
    report: Report,
    checkpoint: Checkpoint | None = None,
    shown: bool = False,
) -> None:
    """Fit a `CodedALS` without R at the master, and without D = R^T R where that is not formed sooner by counting.

    ``shown``: whether a callback takes the model.
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
    of_users, ids = dataset.shape[0] >= dataset.shape[1], (dataset.user_ids, dataset.item_ids)
    extent = _extent(dataset, cluster, of_users)
    spread = model.spread_over(extent, cluster.size, cluster.delays, cluster.machine)
    held_in = _copies(spread.code, cluster.size) if spread.precomputation == "coded" else spread.code
    shards = cluster.size // copies_of(held_in)
    mean = None
    with ExitStack() as resources:
        run = resources.enter_context(
            recording(model, dataset, report, checkpoint, cluster.seconds, FREE, CodedIteration, ids=ids)
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
        seen = _seen(cluster, placed, (extent.rows, extent.length)) if shown else None
        if seen is not None and not of_users:
            seen = csr_array(seen.T)
        keep = partial(model._keep, global_mean=mean or 0.0, seen=seen)
        keep(*model.factorize(problem, held, log, spread, unit, run, keep=keep))


def _extent(dataset: Dataset, cluster: DaskCluster, of_users: bool) -> Extent:
    """The size of the problem before data are distributed; both ratings of a repeated pair count."""
    source = dataset.source
    counts = source.users.counts if of_users else source.items.counts
    return Extent(max(dataset.shape), min(dataset.shape), counts, True, memory_for_gram(cluster.client))


def _copies(code: CodeSpec, workers: int) -> CodeSpec:
    """In how many copies rows lie beside a D that is spread by a code."""
    return code if isinstance(code, (Replicated, Uncoded)) else rows_code(None, workers)
