"""ALS on blocks of rows that the workers hold: the fit of the whole matrix, bit by bit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.baselines import ImplicitALS, RidgeALS
from coded_als.baselines.distributed import BlockedRows, FirstCopy, Partial, WaitForAll, fit_on_blocks
from coded_als.baselines.half_step import RatingFacts
from coded_als.cluster.inline import InlineCluster
from coded_als.codes.product import deal
from coded_als.errors import UsageError
from coded_als.models.training import FitRecorder

MODELS: list[Any] = [
    ImplicitALS(5, iterations=3),
    ImplicitALS(5, iterations=3, alpha=2.0, dtype="float64"),
    RidgeALS(5, iterations=3),
    RidgeALS(5, iterations=3, biases=False, regularization_scaling="count", dtype="float64"),
]


def matrix_of(seed: int, users: int = 60, items: int = 40) -> sp.csr_array:
    generator = np.random.default_rng(seed)
    matrix = sp.csr_array(sp.random_array((users, items), density=0.1, rng=generator, format="csr"))
    matrix.data = np.round(4 * matrix.data) + 1
    return matrix


def blocked(name: str, matrix: sp.csr_array, cluster: InlineCluster, shards: int, pick: bool) -> BlockedRows:
    """Give the blocks of a matrix out, cut here without the code that Dask's workers cut with."""
    lengths = np.diff(matrix.indptr).astype(np.int64)
    rows = deal(lengths, shards)
    stored: dict[str, list[Any]] = {"indptr": [], "indices": [], "data": []}
    touched: list[Any] = []
    for held in rows:
        block = matrix[held[held >= 0]]
        block.sort_indices()
        places = np.unique(block.indices).astype(np.int32)
        ends = np.append(block.indptr, [block.nnz] * (held.size - block.shape[0]))
        stored["indptr"].append(ends.astype(np.int32))
        stored["indices"].append((np.searchsorted(places, block.indices) if pick else block.indices).astype(np.int32))
        stored["data"].append(block.data)
        touched.append(places if pick else None)
    for part, arrays in stored.items():
        cluster.store(f"{name}.{part}", [arrays[worker % shards] for worker in range(cluster.size)])
    return BlockedRows(name, rows, touched, lengths)


def fit(model: Any, matrix: sp.csr_array, workers: int, policy: Any, pick: bool) -> None:
    cluster = InlineCluster(workers)
    shards = policy.shards(workers)
    users = blocked("users", matrix, cluster, shards, pick)
    items = blocked("items", sp.csr_array(matrix.T), cluster, shards, pick)
    values = matrix.data
    facts = RatingFacts(
        matrix.nnz, float(values.mean()), float(values.min()), float(values.max()), float(values @ values)
    )
    fit_on_blocks(model, users, items, facts, cluster, policy, FitRecorder(lambda _entry: None, time.perf_counter))


@settings(max_examples=15)
@given(
    model=st.sampled_from(MODELS),
    seed=st.integers(0, 1000),
    policy=st.sampled_from([WaitForAll(), FirstCopy(2), Partial(4)]),
    pick=st.booleans(),
)
def test_blocks_give_the_fit_of_the_whole_matrix(model: Any, seed: int, policy: Any, pick: bool) -> None:
    matrix = matrix_of(seed)
    fit(model, matrix, 4, policy, pick)
    found, history = (model.user_factors_, model.item_factors_), [entry.objective for entry in model.history_]
    model.fit(matrix)
    for part, whole in zip(found, (model.user_factors_, model.item_factors_), strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-5 if model.dtype == "float32" else 1e-11)
    np.testing.assert_allclose(history, [entry.objective for entry in model.history_], rtol=1e-5)


def test_more_blocks_than_rows() -> None:
    matrix = matrix_of(3, users=5, items=3)
    model = RidgeALS(2, iterations=2, dtype="float64")
    fit(model, matrix, 6, WaitForAll(), pick=True)
    found = model.user_factors_
    np.testing.assert_allclose(found, model.fit(matrix).user_factors_, atol=1e-11)


def test_interactions_that_the_model_cannot_learn_from_are_refused() -> None:
    matrix = matrix_of(0)
    matrix.data[0] = 0
    with pytest.raises(UsageError, match="greater than 0 with alpha"):
        fit(ImplicitALS(2, alpha=1.0), matrix, 2, WaitForAll(), pick=False)
