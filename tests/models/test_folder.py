"""Models as folders of Parquet files: what is written is read, and the best items of all users are those of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

pytest.importorskip("pyarrow")

from coded_als import CodedALS, load_model
from coded_als.baselines import RidgeALS
from coded_als.cli import main
from coded_als.errors import UsageError
from coded_als.models import folder
from coded_als.models import folder as part_rows
from coded_als.models.folder import save_folder, write_top_n_folder


@pytest.fixture(autouse=True)
def _many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "PART_ROWS", 13)
    monkeypatch.setattr(part_rows, "GROUP_ROWS", 5)


def fitted(kind: str) -> Any:
    generator = np.random.default_rng(2)
    dense = (generator.random((30, 12)) < 0.3) * generator.integers(1, 6, (30, 12)).astype(float)
    dense[np.arange(30), np.arange(30) % 12] = 3
    matrix = sp.csr_array(dense)
    matrix = sp.csr_array(sp.vstack([matrix, sp.csr_array((1, 12))]))  # a user without ratings
    model: Any = RidgeALS(3, iterations=2) if kind == "ridge" else CodedALS(3)
    return model.fit(matrix).set_ids([f"u{row}" for row in range(31)], range(100, 112))


@pytest.mark.parametrize("kind", ["ridge", "coded"])
def test_what_is_written_is_read(tmp_path: Path, kind: str) -> None:
    model = fitted(kind)
    save_folder(model, tmp_path / "model")
    read: Any = load_model(tmp_path / "model")
    assert type(read) is type(model)
    for name in ("user_factors_", "item_factors_", "user_ids", "item_ids", "user_biases_", "item_biases_"):
        np.testing.assert_array_equal(getattr(read, name), getattr(model, name))
    assert (read.seen_ != model.seen_).nnz == 0
    assert read.history_ == model.history_
    assert read.global_mean_ == model.global_mean_
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("filter_seen", [True, False])
@pytest.mark.parametrize("kind", ["ridge", "coded"])
def test_the_best_items_of_all_users(tmp_path: Path, kind: str, filter_seen: bool) -> None:
    from pyarrow import parquet

    model = fitted(kind)
    save_folder(model, tmp_path / "model")
    assert write_top_n_folder(tmp_path / "model", tmp_path / "top", 4, filter_seen) == 30
    assert len(list((tmp_path / "top").glob("*.parquet"))) == 3
    table = parquet.read_table(tmp_path / "top" / "00000.parquet").to_pylist()
    table += parquet.read_table(tmp_path / "top" / "00002.parquet").to_pylist()
    for user in ("u0", "u12", "u29"):
        ids, scores = model.recommend(user, 4, filter_seen=filter_seen)
        mine = [row for row in table if row["user"] == user]
        assert [row["item"] for row in mine] == ids.tolist()
        assert [row["rank"] for row in mine] == [1, 2, 3, 4]
        np.testing.assert_allclose([row["score"] for row in mine], scores, rtol=1e-5)


def test_a_file_as_files_of_the_best_items(tmp_path: Path) -> None:
    from pyarrow import parquet

    model = fitted("coded")
    model.save(tmp_path / "model.npz")
    run = CliRunner().invoke(
        main, ["recommend", str(tmp_path / "model.npz"), "--all", "-n", "3", "--out", str(tmp_path / "top")]
    )
    assert run.exit_code == 0, run.output
    assert "the best 3 items of 30 users" in run.output
    assert parquet.read_table(tmp_path / "top" / "00000.parquet").num_rows == 39
    run = CliRunner().invoke(
        main, ["recommend", str(tmp_path / "model.npz"), "--user", "u1", "--out", str(tmp_path / "t")]
    )
    assert run.exit_code == 2
    assert "go with --all" in run.output


def test_nothing_but_a_folder_of_its_kind_is_replaced(tmp_path: Path) -> None:
    model = fitted("coded")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="it holds something else"):
        save_folder(model, tmp_path / "mine")
    with pytest.raises(UsageError, match="one that is there"):
        save_folder(model, tmp_path / "no" / "where")
    for _ in range(2):
        save_folder(model, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


@pytest.mark.parametrize("spoil", ["header", "part", "missing", "version"])
def test_a_damaged_folder_is_one_line(tmp_path: Path, spoil: str) -> None:
    save_folder(fitted("coded"), tmp_path / "model")
    header, part = tmp_path / "model" / "model.json", tmp_path / "model" / "users" / "00001.parquet"
    if spoil == "header":
        header.write_text("{")
    elif spoil == "version":
        header.write_text(header.read_text().replace('"version": 1', '"version": 2'))
    elif spoil == "part":
        part.write_bytes(part.read_bytes()[:100])
    else:
        part.unlink()
    with pytest.raises(UsageError, match="a model folder must") as raised:
        load_model(tmp_path / "model")
    assert "\n" not in str(raised.value)
