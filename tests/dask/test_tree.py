"""D summed up in a tree from blocks of rows on Dask workers: R^T R, and the fit of the whole matrix."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("distributed")

from coded_als import CodedALS, InlineCluster
from coded_als.dask import DaskCluster
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import _extent, fit_dataset
from coded_als.dask.placement import memory_for_gram, summed_gram, tree
from coded_als.data import load_ratings
from coded_als.errors import UsageError
from coded_als.planner.schemes import Extent
from tests.dask.test_cluster import eventually
from tests.dask.test_dataset import NAMES, TABLE, write_parts


@pytest.fixture(scope="module")
def cluster(dask_client: Any) -> Iterator[DaskCluster]:
    with DaskCluster(dask_client, 4) as cluster:
        yield cluster


@given(st.integers(1, 40))
def test_a_tree_adds_neighbours_and_is_no_deeper_than_it_must_be(count: int) -> None:
    parts = [(frozenset({number}), 0) for number in range(count)]
    whole, depth = tree(parts, lambda left, right: (left[0] | right[0], max(left[1], right[1]) + 1))
    assert whole == frozenset(range(count))
    assert depth == (count - 1).bit_length()
    # in order, so that the sum never depends on who was there first
    assert tree([str(number) for number in range(count)], str.__add__) == "".join(map(str, range(count)))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_it_is_the_gram_matrix(
    cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, turned: bool
) -> None:
    monkeypatch.setattr("coded_als.dask.placement.PANEL_ENTRIES", 300)
    names = (NAMES[1], NAMES[0], NAMES[2]) if turned else NAMES
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), names)
    matrix = load_ratings(TABLE, columns=NAMES).matrix.toarray()
    with dataset.place(cluster, not turned, shards, ("none", None)) as placed:
        gram = summed_gram(cluster.client, placed, matrix.shape[1], 4.0)
    np.testing.assert_allclose(gram, matrix.T @ matrix / 16, rtol=1e-14)
    np.testing.assert_array_equal(gram, gram.T)


@pytest.mark.parametrize("code", ["auto", "systematic:p=3", "replicated:copies=2", "uncoded", "entangled:h=2"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_fit_on_d_is_the_fit_of_the_whole_matrix(
    cluster: DaskCluster, tmp_path: Path, code: str, turned: bool
) -> None:
    names = (NAMES[1], NAMES[0], NAMES[2]) if turned else NAMES
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), names)
    model = fit_dataset(CodedALS(3, code=code, precomputation="coded", weighting="centred"), dataset, cluster)
    assert (model.precomputation_, model.converged_) == ("coded", True)
    plain = CodedALS(3, code=code, precomputation="local", weighting="centred")
    plain.fit(load_ratings(TABLE, columns=names), InlineCluster(4))
    assert model.code_ == plain.code_
    assert model.objective_ == pytest.approx(plain.objective_, rel=1e-10)
    np.testing.assert_allclose(
        model.user_factors_ @ model.item_factors_.T, plain.user_factors_ @ plain.item_factors_.T, atol=1e-6
    )


def test_values_of_an_awkward_size(cluster: DaskCluster, tmp_path: Path) -> None:
    """They are divided by their size before D is formed: fourth powers of them are none that float64 holds."""
    dataset = Dataset.find(cluster.client, write_parts(TABLE.assign(rating=TABLE.rating * 2.0**-400), tmp_path), NAMES)
    model = fit_dataset(CodedALS(2, precomputation="coded"), dataset, cluster)
    plain = CodedALS(2).fit(load_ratings(TABLE, columns=NAMES), InlineCluster(4))
    np.testing.assert_allclose(
        2.0**400 * (model.user_factors_ @ model.item_factors_.T), plain.user_factors_ @ plain.item_factors_.T, atol=1e-3
    )


def extent(rows: int, length: int, entries: int, memory_bytes: float | None = None) -> Extent:
    return Extent(rows, length, np.full(rows, entries // rows), True, memory_bytes)


@pytest.mark.parametrize(
    ("given_extent", "where"),
    [
        (extent(1_000_000, 500, 50_000_000), "coded"),  # many users and few items
        (extent(1_000_000, 200_000, 50_000_000), "none"),  # D would take 320 GB
        (
            extent(1_000_000, 20_000, 3_000_000),
            "none",
        ),  # 3 GB and thirty seconds a block, for products of half a second
        (extent(1_000_000, 500, 50_000_000, 1e6), "none"),  # D takes 2 MB
    ],
)
def test_the_count_decides(given_extent: Extent, where: str) -> None:
    assert CodedALS(20).spread_over(given_extent, 8).precomputation == where


def test_many_blocks_form_what_one_would_not() -> None:
    """A minute of work in one process, and a second on each of 64 workers that have the rows."""
    large = extent(5_000_000, 500, 250_000_000)
    apart = Extent(large.rows, large.length, large.lengths)
    found = [CodedALS(20, code="uncoded").spread_over(one, 64).precomputation for one in (large, apart)]
    assert found == ["coded", "none"]


def test_a_dataset_is_counted_before_anything_is_given_out(cluster: DaskCluster, tmp_path: Path) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    found, matrix = _extent(dataset, cluster, True), load_ratings(TABLE, columns=NAMES).matrix
    assert (found.rows, found.length, found.entries) == (*matrix.shape, matrix.nnz)
    np.testing.assert_array_equal(found.lengths, np.diff(matrix.indptr))
    limits = [worker["memory_limit"] for worker in cluster.client.scheduler_info()["workers"].values()]
    assert found.memory_bytes == memory_for_gram(cluster.client) == (min(limits) / 4 if all(limits) else None)


def test_a_d_that_no_dask_worker_holds_is_refused(
    cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coded_als.dask.fitting.memory_for_gram", lambda client: 1000.0)
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    with pytest.raises(UsageError, match="must fit into memory"):
        fit_dataset(CodedALS(2, code="systematic:p=3"), dataset, cluster)
    assert fit_dataset(CodedALS(2), dataset, cluster).precomputation_ == "none"


def test_a_dask_worker_that_dies_on_the_way(cluster: DaskCluster, tmp_path: Path) -> None:
    """Its blocks outlive it; what it had multiplied is multiplied again."""
    client = cluster.client
    dataset = Dataset.find(client, write_parts(TABLE, tmp_path), NAMES)
    matrix = load_ratings(TABLE, columns=NAMES).matrix.toarray()
    victim = next(iter(client.run(os.getpid).values()))
    with dataset.place(cluster, True, 4, ("none", None)) as placed:
        os.kill(victim, signal.SIGKILL)
        gram = summed_gram(client, placed, matrix.shape[1], 1.0)
    np.testing.assert_allclose(gram, matrix.T @ matrix, rtol=1e-14)
    eventually(lambda: len(client.run(os.getpid)) == 2)
