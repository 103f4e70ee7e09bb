"""MovieLens 1M through Parquet and Dask: the factors of the fit in memory, and the same quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from benchmarks.ncf import evaluate_ncf, load_ncf
from coded_als import CodedALS, InlineCluster
from coded_als.baselines import ImplicitALS, RidgeALS
from coded_als.dask import DaskCluster, Dataset, fit_dataset

pd: Any = pytest.importorskip("pandas")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [ImplicitALS(32, iterations=8), RidgeALS(16, iterations=4), CodedALS(20, code="uncoded")],
    ids=lambda model: model.kind,
)
def test_movielens_1m_by_way_of_part_files(dask_client: Any, shared_data: Path, tmp_path: Path, model: Any) -> None:
    benchmark = load_ncf(shared_data / "ncf-ml-1m" / "ncf_ml1m.npz")
    rows, columns, values = benchmark.train.triples()
    # ratings, where a model needs them, that depend on the pair alone
    values = values if model.kind == "implicit" else 1.0 + (7 * rows + 3 * columns) % 5
    order = np.random.default_rng(0).permutation(rows.size)
    table = pd.DataFrame({"user": rows, "item": columns, "rating": values}).iloc[order]
    for part in range(6):
        table.iloc[part::6].to_parquet(tmp_path / f"{part}.parquet")
    with DaskCluster(dask_client, 4) as cluster:
        dataset = Dataset.find(dask_client, str(tmp_path), ("user", "item", "rating"))
        fit_dataset(model, dataset, cluster)
    # items that nobody has rated in training are no items of the part files
    users, items = np.zeros((benchmark.train.shape[0], model.rank)), np.zeros((benchmark.train.shape[1], model.rank))
    users[dataset.user_ids], items[dataset.item_ids] = model.user_factors_, model.item_factors_
    matrix = benchmark.train.matrix.copy()
    matrix.data = values.astype(np.float64)
    kept = matrix[:, dataset.item_ids]
    if model.kind == "coded":
        plain: Any = CodedALS(20, precomputation="none", code="uncoded").fit(kept, InlineCluster(4))
        predicted = [one.user_factors_[:50] @ one.item_factors_.T for one in (model, plain)]
        np.testing.assert_allclose(*predicted, atol=1e-3 * np.abs(predicted[1]).max())
        assert model.objective_ == pytest.approx(plain.objective_, rel=1e-8)
        return
    found = (model.user_factors_, model.item_factors_)
    model.fit(kept)
    for ours, theirs in zip(found, (model.user_factors_, model.item_factors_), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    if model.kind == "implicit":
        figures = evaluate_ncf(lambda some, others: np.einsum("ij,ij->i", users[some], items[others]), benchmark)
        users[dataset.user_ids], items[dataset.item_ids] = model.user_factors_, model.item_factors_
        again = evaluate_ncf(lambda some, others: np.einsum("ij,ij->i", users[some], items[others]), benchmark)
        assert figures == again
        assert figures[0] > 0.6
