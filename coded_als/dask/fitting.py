"""Fits of datasets whose blocks Dask puts where the workers are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from coded_als.als import CodedALS
from coded_als.baselines.alternating import AlternatingModel
from coded_als.baselines.blocks import fit_on_blocks
from coded_als.baselines.policies import StragglerPolicy, WaitForAll
from coded_als.cluster.scope import Scope
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.coded_rows import fit_coded_rows
from coded_als.dask.dataset import Dataset, blocked_rows, rating_facts
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.models.checkpoint import Checkpoint, flushed
from coded_als.models.reporting import Callback, reporting
from coded_als.models.running import Run, running

Blockwise = TypeVar("Blockwise", bound=Any)


def fit_dataset(
    model: Blockwise,
    dataset: Dataset,
    cluster: DaskCluster,
    policy: StragglerPolicy | None = None,
    *,
    callback: Callback | None = None,
    progress: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Blockwise:
    """Fit a model to ratings that no machine holds as a whole.

    The result is that of ``model.fit`` on the same ratings, in the same arithmetic. The model knows its ids but not which
    ratings it has seen: those stay where they are (`coded_als.dask.write_model` writes them beside the factors).

    Parameters
    ----------
    model
        An `ImplicitALS`, a `RidgeALS`, or a `CodedALS`, whose workers then hold rows of R in copies and,
        where counting prefers it, shares of D; fitted in place.
    dataset
        The ratings.
    cluster
        Whose workers hold the blocks.
    policy
        `WaitForAll` (the default), `FirstCopy` or `Partial`; for the coded model its ``code`` says it.
    callback, progress
        As in ``model.fit``.
    checkpoint
        As in ``model.fit``; it is refused for part files that have changed. With a policy that skips blocks the delays
        after a resumption decide which, so the fit that goes on is as good and not the same.

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
    """
    model.require_installed()
    with reporting(callback, progress, type(model).__name__, model.iterations) as report, _explained(cluster):
        if isinstance(model, CodedALS):
            if policy is not None:
                raise UsageError(
                    "the coded model is spread by its code; got a policy too. Pass code='replicated:copies=2'."
                )
            with flushed(checkpoint):
                fit_coded_rows(model, dataset, cluster, report, checkpoint)
        else:
            chosen = WaitForAll() if policy is None else policy
            shards = chosen.shards(cluster.size)
            also = {"policy": repr(chosen), "shards": shards}
            with running(model, dataset, report, checkpoint, cluster.seconds, **also) as run:
                _fit_alternating(model, dataset, cluster, chosen, run)
    model.set_ids(dataset.user_ids, dataset.item_ids)
    return model


@contextmanager
def _explained(cluster: DaskCluster) -> Iterator[None]:
    """Whoever is missing may be there and refuse, for a reason that helps more."""
    try:
        yield
    except NotEnoughWorkers as error:
        if cluster.starter.refusal is not None:
            raise cluster.starter.refusal from error
        raise


def _fit_alternating(
    model: AlternatingModel, dataset: Dataset, cluster: DaskCluster, policy: StragglerPolicy, run: Run
) -> None:
    shards = policy.shards(cluster.size)
    with ExitStack() as planted:
        users, items = (planted.enter_context(dataset.plant(cluster, side, shards)) for side in (True, False))
        scope = planted.enter_context(Scope(cluster))
        sides = [
            blocked_rows(one, name, scope, count)
            for one, name, count in zip((users, items), ("users", "items"), dataset.shape, strict=True)
        ]
        fit_on_blocks(model, sides[0], sides[1], rating_facts(users.facts), scope, policy, run)
