"""Several users of one cluster: what one of them stores is seen and replaced by nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import CodedALS, CodedOperator, InlineCluster, LocalCluster, RidgeALS, SimulatedCluster
from coded_als.baselines.distributed import fit_on_cluster
from coded_als.cluster import Cluster

RNG = np.random.default_rng(3)
OUTER, INNER = RNG.standard_normal((30, 20)), 7.0 * RNG.standard_normal((24, 18))


@pytest.fixture(params=[InlineCluster, SimulatedCluster, LocalCluster])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with request.param(8) as cluster:
        yield cluster


def stored_names(cluster: Any) -> set[str]:
    """What the workers hold."""
    if isinstance(cluster, LocalCluster):
        held = [set(worker.held) for worker in cluster._membership.workers.values()]
        return set(cluster._stores.newest).union(*held)
    return set().union(*cluster._arrays._memory)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "lobpcg", "partitions": 2},
        {"solver": "als", "partitions": 2},
        {"solver": "als", "protocol": "paper", "partitions": 2},
        {"code": "uncoded"},
        {"precomputation": "local", "partitions": 2},
    ],
)
def test_a_fit_in_the_callback_of_another_changes_neither(cluster: Cluster, options: dict[str, Any]) -> None:
    outer, inner = (CodedALS(2, iterations=30, **options) for _ in range(2))
    expected = [CodedALS(2, iterations=30, **options).fit(r).objective_ for r in (OUTER, INNER)]
    reached: list[float] = []

    def fit_another(*_: object) -> None:
        if not reached:
            reached.append(inner.fit(INNER, cluster).objective_)

    outer.fit(OUTER, cluster, callback=fit_another)
    assert [outer.objective_, *reached] == pytest.approx(expected, rel=1e-9)
    assert stored_names(cluster) == set()


def test_two_operators_multiply_with_their_own_matrices(cluster: Cluster) -> None:
    first, second = RNG.standard_normal((6, 5)), RNG.standard_normal((5, 5))
    a, b = CodedOperator(first, cluster, partitions=2), CodedOperator(second, cluster, partitions=2)
    x = RNG.standard_normal((5, 3))
    for _ in range(2):
        np.testing.assert_allclose(a @ x, first @ x, atol=1e-12)
        np.testing.assert_allclose(b @ x, second @ x, atol=1e-12)
    a.close()
    np.testing.assert_allclose(b @ x, second @ x, atol=1e-12)
    assert len(stored_names(cluster)) == 1
    del b
    assert stored_names(cluster) == set()


def test_a_sparse_fit_beside_a_coded_one(cluster: Cluster) -> None:
    ratings = sparse.csr_array(np.where(RNG.random((12, 9)) < 0.5, 3.0, 0.0))
    reached: list[RidgeALS] = []

    def fit_another(*_: object) -> None:
        if not reached:
            reached.append(fit_on_cluster(RidgeALS(2, 1.0, iterations=3, seed=1, biases=False), ratings, cluster))

    CodedALS(2, partitions=2).fit(OUTER, cluster, callback=fit_another)
    alone = fit_on_cluster(RidgeALS(2, 1.0, iterations=3, seed=1, biases=False), ratings, cluster)
    np.testing.assert_allclose(reached[0].user_factors_, alone.user_factors_, rtol=1e-9)
    assert stored_names(cluster) == set()


@pytest.mark.parametrize("fail", [KeyboardInterrupt, ValueError])
def test_a_fit_that_is_broken_off_leaves_nothing_stored(cluster: Cluster, fail: Callable[[], BaseException]) -> None:
    def broken(*_: object) -> None:
        raise fail()

    with pytest.raises((KeyboardInterrupt, ValueError)):
        CodedALS(2, partitions=2).fit(OUTER, cluster, callback=broken)
    assert stored_names(cluster) == set()
