"""Exported vectors: products have the order of the model, with biases, and every kind of file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import EASE, UsageError, export_vectors, vectors_of
from coded_als.cli import main
from tests.models.test_recommending import ITEMS, USERS, Model

MODELS = [Model(seed, biased) for seed in range(3) for biased in (False, True)]


@pytest.mark.parametrize("model", MODELS)
def test_inner_products_are_scores_but_for_a_constant_of_the_user(model: Model) -> None:
    (users, of_users), (items, of_items) = vectors_of(model, "users"), vectors_of(model)
    for row, user in enumerate(users.tolist()):
        scores = [model.predict(user, item) for item in items.tolist()]
        left = np.array(scores) - of_items @ of_users[row]
        np.testing.assert_allclose(left, left[0], atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_cosines_are_those_of_similar_items(model: Model) -> None:
    items, units = vectors_of(model, "items", "cosine")
    found = model.similar_items(items.item(0), ITEMS)
    cosines = dict(zip(items.tolist(), (units @ units[0]).tolist(), strict=True))
    np.testing.assert_allclose([cosines[item] for item in found.ids.tolist()], found.scores, atol=1e-12)


def read(path: Path, model: Model) -> tuple[Any, Any]:
    if path.suffix == ".npz":
        with np.load(path) as held:
            return held["ids"], held["vectors"]
    if path.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        return np.array(table["id"].to_pylist()), np.array(table["vector"].to_pylist())
    import faiss

    index = faiss.read_index(str(path))
    return model.item_ids if index.ntotal == ITEMS else model.user_ids, index.reconstruct_n(0, index.ntotal)


@pytest.mark.parametrize(("suffix", "library"), [("npz", "numpy"), ("parquet", "pyarrow"), ("faiss", "faiss")])
@pytest.mark.parametrize("side", ["items", "users"])
def test_a_file_holds_ids_and_vectors(tmp_path: Path, suffix: str, library: str, side: Any) -> None:
    pytest.importorskip(library)
    model = MODELS[1]
    export_vectors(model, tmp_path / f"out.{suffix}", side)
    ids, vectors = read(tmp_path / f"out.{suffix}", model)
    expected = vectors_of(model, side)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(vectors, expected[1])
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{suffix}"]


@pytest.mark.parametrize("metric", ["inner", "cosine"])
def test_an_index_of_faiss_has_the_order_of_the_model(tmp_path: Path, metric: Any) -> None:
    faiss = pytest.importorskip("faiss")
    generator = np.random.default_rng(0)
    model = Model(0)
    model._keep(
        generator.standard_normal((USERS, 3)),
        generator.standard_normal((ITEMS, 3)),
        item_biases=generator.random(ITEMS),
    )
    export_vectors(model, tmp_path / "items.faiss", metric=metric)
    index = faiss.read_index(str(tmp_path / "items.faiss"))
    asked = vectors_of(model, "users")[1] if metric == "inner" else vectors_of(model, "items", metric)[1]
    _, places = index.search(asked.astype(np.float32), 4)
    for row, found in enumerate(model.item_ids[places].tolist()):
        if metric == "inner":
            assert found == model.recommend(row, 4).ids.tolist()
        else:  # the item itself comes first
            assert found == [row, *model.similar_items(row, 3).ids.tolist()]


def test_a_command_exports(tmp_path: Path) -> None:
    fit = ["fit", "synthetic:m=40,n=30,d=4,noise=0.1", "--rank", "2", "--workers", "2", "--cluster", "inline"]
    assert CliRunner().invoke(main, [*fit, "--out", f"{tmp_path}/model.npz"]).exit_code == 0
    done = CliRunner().invoke(
        main, ["export", f"{tmp_path}/model.npz", "--out", f"{tmp_path}/users.npz", "--side", "users"]
    )
    assert (done.exit_code, done.stdout) == (0, f"saved {tmp_path}/users.npz: vectors of 40 users\n")


@pytest.mark.parametrize("path", ["vectors.txt", "vectors", "no/such/folder/vectors.npz"])
def test_paths_that_cannot_be_written_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="vectors"):
        export_vectors(MODELS[0], tmp_path / path)


def test_a_library_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.models.vectors.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'coded-als\[faiss\]'"):
        export_vectors(MODELS[0], tmp_path / "items.faiss")


def test_a_model_without_vectors_is_refused() -> None:
    with pytest.raises(UsageError, match="EASE has no vectors"):
        vectors_of(EASE(1.0).fit(np.eye(3)))
