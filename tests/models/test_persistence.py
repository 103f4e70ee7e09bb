"""Fitted models: recommending by original id, and a file that is whole or absent."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from coded_als.errors import UsageError
from coded_als.models import persistence
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import seen_pattern
from coded_als.models.recommending import Ranking


class Model(FactorModel):
    kind = "test-model"

    def __init__(self, rank: int = 2, regularization: float = 0.1) -> None:
        self.rank, self.regularization = rank, regularization


def fitted(seed: int = 0, biased: bool = True, names: bool = True) -> Model:
    rng = np.random.default_rng(seed)
    model = Model(rank=3)
    seen = rng.random((4, 6)) < 0.3
    seen[:3, 0], seen[3] = True, False
    model._keep(
        rng.normal(size=(4, 3)),
        rng.normal(size=(6, 3)),
        user_biases=rng.normal(size=4) if biased else None,
        item_biases=rng.normal(size=6) if biased else None,
        global_mean=3.5 if biased else 0.0,
        seen=seen_pattern(csr_array(seen.astype(float))),
    )
    if names:
        model.set_ids(["dora", "anna", "Zoë", "new"], [60, 10, 50, 20, 40, 30])
    return model


def table(model: Model) -> np.ndarray:
    scores = model.user_factors_ @ model.item_factors_.T + model.global_mean_
    if model.user_biases_ is not None and model.item_biases_ is not None:
        scores = scores + model.user_biases_[:, None] + model.item_biases_
    return scores


def test_predict() -> None:
    model = fitted()
    assert model.predict("anna", 50) == model.predict("anna", "50") == pytest.approx(table(model)[1, 2])


def same(one: Ranking, other: Ranking) -> bool:
    return one.ids.tolist() == other.ids.tolist() and one.scores.tolist() == other.scores.tolist()


def test_numbers_and_text_name_the_same_user_only_when_written_alike() -> None:
    model = fitted(names=False)
    assert same(model.recommend(1), model.recommend("1"))
    assert same(model.recommend(1), model.recommend(np.int64(1)))
    for unknown in ("01", "1.0", 1.5, "+1", " 1", 4, -1, 10**30, "x", None):
        with pytest.raises(UsageError, match="user must be one of the 4"):
            model.recommend(unknown)
    with pytest.raises(UsageError, match="such as 'Zoë'"):
        fitted().recommend("a much longer name than any")


def test_what_models_refuse() -> None:
    model = fitted()
    for call, message in [
        (lambda: Model().recommend("anna"), "must be fitted"),
        (lambda: Model().save("x"), "must be fitted"),
        (lambda: model.recommend("anna", 0), "n must be"),
        (lambda: model.recommend("anna", 2.0), "n must be"),
        (lambda: model.recommend("new"), "must have ratings"),
        (lambda: model.predict("anna", 99), "item must be one of the 6"),
        (lambda: model.predict("bob", 10), "user must be one of the 4"),
        (lambda: model.recommend(["anna", "new"]), "must have ratings"),
        (lambda: model.recommend("anna", items=[10, 99]), "item must be one of the 6"),
        (lambda: model.similar_users("bob"), "user must be one of the 4"),
        (lambda: model.similar_items(99), "item must be"),
        (lambda: model.similar_items(10, -1), "n must be"),
        (lambda: model.recommend(["anna", "bob"]), "user must be"),
        (lambda: model.set_ids(["a"] * 4, range(6)), "'a' appears twice"),
        (lambda: model.set_ids(["a"], range(6)), "one user id for each of 4"),
    ]:
        with pytest.raises(UsageError, match=message):
            call()


@pytest.mark.parametrize("kind", [csr_array, csr_matrix, np.asarray])
def test_seen_pattern(kind: Any) -> None:
    seen = seen_pattern(kind(np.array([[0, 2.0], [0, 0]])))
    assert seen is not None
    assert seen.toarray().tolist() == [[0, 1], [0, 0]]
    assert seen_pattern(np.ones((2, 2))) is None


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("names", [True, False])
def test_a_saved_model_comes_back(tmp_path: Path, biased: bool, names: bool) -> None:
    model = fitted(biased=biased, names=names)
    path = tmp_path / "model"
    model.save(path)
    model.save(path)
    loaded = persistence.load_model(path)
    assert isinstance(loaded, Model)
    assert (loaded.rank, loaded.regularization) == (3, 0.1)
    assert loaded.user_ids.tolist() == model.user_ids.tolist()
    for row, user in enumerate(model.user_ids.tolist()[:3]):
        assert same(loaded.recommend(user), model.recommend(user))
        assert loaded.scores(row).tolist() == model.scores(row).tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_float32_factors_stay_float32(tmp_path: Path) -> None:
    model = Model()
    model._keep(np.ones((2, 2), np.float32), np.ones((3, 2), np.float32))
    model.save(tmp_path / "m")
    assert persistence.load_model(tmp_path / "m").user_factors_.dtype == np.float32


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.npz"
    fitted(0).save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("coded_als.models.files.os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        fitted(1).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (
        tmp_path,
        tmp_path / "absent" / "m.npz",
        tmp_path / "file" / "m.npz",
        "/dev/null",
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(UsageError, match="saved where a file can be written") as caught:
            fitted().save(place)
        assert "\n" not in str(caught.value)
    assert Path("/dev/null").is_char_device()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "model")
    fitted().save(link)
    assert link.is_symlink()
    assert same(persistence.load_model(link).recommend("anna"), fitted().recommend("anna"))


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds objects"):
        persistence.save_model(tmp_path / "m", "ridge", {"a": np.array([None])}, {})
    with pytest.raises(UsageError, match="fit into JSON"):
        persistence.save_model(tmp_path / "m", "ridge", {}, {"rng": np.random.default_rng()})
    assert not any(tmp_path.iterdir())


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        persistence.load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    assert "No such file" in refused(path)
    assert "a model folder must hold its model.json" in refused(tmp_path)
    for content in (b"", b"PK\x03\x04", b"hello\n" * 9, pickle.dumps({"a": 1})):
        path.write_bytes(content)
        assert "complete file" in refused(path)
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    assert "was not" in refused(path.with_suffix(".npz"))
    np.savez(path.with_suffix(".npz"), header=np.array([{"format": persistence.FORMAT}]))
    assert "complete file" in refused(path.with_suffix(".npz"))
    fitted().save(path)
    monkeypatch.setattr(persistence, "VERSION", 2)
    assert "format version 2; " in refused(path)
    persistence.save_model(path, "quantum", {}, {})
    assert "'quantum'" in refused(path)


@pytest.mark.parametrize("name", ["user_factors", "item_ids", "seen_indices", "seen_indptr", "user_biases"])
def test_parts_that_do_not_belong_together(tmp_path: Path, name: str) -> None:
    model = fitted()
    arrays = model._arrays()
    for damaged in (arrays[name][:-1], arrays[name][..., None], np.full_like(arrays[name], 7)):
        if name in ("user_factors", "user_biases") and damaged.shape == arrays[name].shape:
            continue  # other numbers are another model
        persistence.save_model(tmp_path / "m", "ridge", arrays | {name: damaged}, {"parameters": {"rank": 3}})
        refused(tmp_path / "m")
    persistence.save_model(tmp_path / "m", "ridge", arrays, {"parameters": {"unheard": 3}})
    assert "unheard" in refused(tmp_path / "m")
    persistence.save_model(tmp_path / "m", "ridge", arrays, {})
    refused(tmp_path / "m")


@pytest.mark.parametrize("name", ["user_factors", "item_factors", "user_biases", "item_biases", "global_mean"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_numbers_that_are_not_finite_are_not_published(name: str, value: float) -> None:
    arrays = fitted()._arrays()
    damaged = np.array(arrays[name])
    damaged[(0,) * damaged.ndim] = value
    given = {key: arrays[key] for key in ("user_factors", "item_factors", "user_biases", "item_biases", "global_mean")}
    with pytest.raises(UsageError, match="factors must be finite"):
        Model()._keep(**(given | {name: damaged}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda array: np.where(np.arange(array.size).reshape(array.shape) == array.size - 1, np.nan, array),
        lambda array: array * np.inf,
        lambda array: array + 1j,
        lambda array: array.astype(str),
        lambda array: np.round(array).astype(int),
    ],
    ids=["nan", "infinite", "complex", "text", "whole"],
)
@pytest.mark.parametrize("name", ["user_factors", "item_factors", "user_biases", "item_biases", "global_mean"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, name: str, spoil: Any) -> None:
    arrays = fitted()._arrays()
    spoiled = arrays | {name: np.asarray(spoil(arrays[name]))}
    persistence.save_model(tmp_path / "m", "ridge", spoiled, {"parameters": {"rank": 3}})
    assert f"{name} are not finite real numbers" in refused(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("user_ids", np.array([0.5, 1.5, 2.5, np.nan])),
        ("item_ids", np.arange(6) * 1j),
        ("seen_indices", np.zeros(3)),
        ("seen_indptr", np.array(["0"] * 5)),
    ],
)
def test_ids_and_places_that_are_none_are_refused(tmp_path: Path, name: str, array: np.ndarray) -> None:
    persistence.save_model(tmp_path / "m", "ridge", fitted()._arrays() | {name: array}, {"parameters": {"rank": 3}})
    refused(tmp_path / "m")


def test_factors_of_another_rank_are_refused(tmp_path: Path) -> None:
    persistence.save_model(tmp_path / "m", "ridge", fitted()._arrays(), {"parameters": {"rank": 5}})
    assert "rank" in refused(tmp_path / "m")


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(2), np.uint8(2), np.bool_(True)])
def test_numpy_numbers_are_parameters_like_others(tmp_path: Path, number: Any) -> None:
    model = fitted()
    model.regularization = number
    model.save(tmp_path / "m")
    loaded = persistence.load_model(tmp_path / "m")
    assert isinstance(loaded, Model)
    assert loaded.regularization == number
    assert type(loaded.regularization) in (float, int, bool)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_never_escapes_as_anything_else(tmp_path: Path, place: float, byte: int, cut: bool) -> None:
    path = tmp_path / "m"
    fitted().save(path)
    content = bytearray(path.read_bytes())
    where = int(place * len(content))
    if cut:
        del content[where:]
    else:
        content[where] = byte
    path.write_bytes(content)
    try:
        model = persistence.load_model(path)
    except UsageError as error:
        message = str(error)
    else:
        message = str(model.predict("anna", 10))
    assert "\n" not in message
