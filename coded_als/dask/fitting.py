"""Fits of datasets whose blocks Dask puts where the workers are."""

from __future__ import annotations

from typing import Any, TypeVar

from coded_als.baselines.alternating import AlternatingModel
from coded_als.baselines.blocks import fit_on_blocks
from coded_als.baselines.policies import StragglerPolicy, WaitForAll
from coded_als.cluster.scope import Scope
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.dataset import Dataset, blocked_rows, rating_facts
from coded_als.models.history import History
from coded_als.models.reporting import Callback, reporting

Blockwise = TypeVar("Blockwise", bound=Any)


def fit_dataset(
    model: Blockwise,
    dataset: Dataset,
    cluster: DaskCluster,
    policy: StragglerPolicy | None = None,
    *,
    callback: Callback | None = None,
    progress: bool = False,
) -> Blockwise:
    """Fit a model to ratings that no machine holds as a whole.

    The result is that of ``model.fit`` on the same ratings, in the same arithmetic. The model knows its ids but not which
    ratings it has seen: those stay where they are (`coded_als.dask.write_model` writes them beside the factors).

    Parameters
    ----------
    model
        An `ImplicitALS` or a `RidgeALS`; it is fitted in place.
    dataset
        The ratings.
    cluster
        Whose workers hold the blocks.
    policy
        `WaitForAll` (the default), `FirstCopy` or `Partial`.
    callback, progress
        As in ``model.fit``.

    Returns
    -------
    model

    Raises
    ------
    UsageError
        For ratings that the model cannot learn from, or a policy that does not suit the cluster.
    NotEnoughWorkers
        When the policy needs a worker that is gone.
    """
    policy = WaitForAll() if policy is None else policy
    shards = policy.shards(cluster.size)
    users = dataset.plant(cluster, True, shards)
    try:
        items = dataset.plant(cluster, False, shards)
        try:
            with (
                reporting(callback, progress, type(model).__name__, model.iterations) as report,
                Scope(cluster) as scope,
            ):
                _fit_alternating(model, dataset, (users, items), scope, policy, History(report, cluster.seconds))
        finally:
            items.close()
    finally:
        users.close()
    model.set_ids(dataset.user_ids, dataset.item_ids)
    return model


def _fit_alternating(
    model: AlternatingModel, dataset: Dataset, planted: Any, scope: Scope, policy: StragglerPolicy, history: History
) -> None:
    sides = [
        blocked_rows(one, name, scope, count)
        for one, name, count in zip(planted, ("users", "items"), dataset.shape, strict=True)
    ]
    fit_on_blocks(model, sides[0], sides[1], rating_facts(planted[0].facts), scope, policy, history)
