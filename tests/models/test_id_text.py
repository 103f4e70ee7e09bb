"""Ids that are text, in either of their two forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import load_model
from coded_als.errors import UsageError
from coded_als.models import ids as ids_of
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import IdLookup, joined_texts, number_texts, text_array
from coded_als.models.persistence import save_model

texts = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9), max_size=12)


@pytest.fixture(params=["fixed width", "objects"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if arrays of a fixed width were never, or always, too large."""
    monkeypatch.setattr(ids_of, "_SMALL_BYTES", 0 if request.param == "objects" else 2**40)
    monkeypatch.setattr(ids_of, "_WASTE", 0)
    return "O" if request.param == "objects" else "U"


@settings(max_examples=100)
@given(given_texts=texts, asked=texts)
def test_numbers_are_those_of_a_sorted_set(given_texts: list[str], asked: list[str]) -> None:
    distinct, places = number_texts(given_texts)
    assert distinct.tolist() == sorted(set(given_texts))
    assert [distinct[place] for place in places] == given_texts
    for ids in (distinct, distinct.astype(object)):
        lookup = IdLookup("user", ids)
        expected = [distinct.tolist().index(text) if text in given_texts else -1 for text in asked]
        for several in (asked, np.array(asked, dtype=object), np.array(asked, dtype=np.str_)):
            assert lookup.places(several).tolist() == expected


def test_the_form_depends_on_what_a_fixed_width_would_take() -> None:
    short = [f"u{k}" for k in range(100_000)]
    assert text_array(short).dtype.kind == "U"
    assert text_array([*short, "x" * 4000]).dtype.kind == "O"
    assert text_array(["x" * 4000] * 5000).dtype.kind == "U"
    assert text_array([*short[:1000], "x" * 4000]).dtype.kind == "U"
    joined = joined_texts([text_array(short), text_array(["x" * 4000])])
    assert joined.dtype.kind == "O"
    assert joined.tolist() == [*short, "x" * 4000]
    assert joined_texts([text_array(short), text_array(["ab"])]).dtype.kind == "U"


class Named(FactorModel):
    kind = "test-named"

    def __init__(self, users: int = 3, items: int = 4) -> None:
        self.users, self.items = users, items
        rng = np.random.default_rng(0)
        self._keep(rng.standard_normal((users, 2)), rng.standard_normal((items, 2)))


def test_a_model_is_saved_and_read_with_ids_of_either_form(form: str, tmp_path: Path) -> None:
    model = Named().set_ids(["é", "NA", ""], ["a", "b\n", "c", "d" * 99])
    assert model.user_ids.dtype.kind == model.item_ids.dtype.kind == form
    model.save(tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz")
    assert loaded.user_ids.tolist() == ["é", "NA", ""]
    assert loaded.item_ids.tolist() == ["a", "b\n", "c", "d" * 99]
    for user in ("NA", b"NA", ""):
        assert loaded.recommend(user).ids.tolist() == model.recommend(user).ids.tolist()
    many = loaded.recommend(["é", "NA"], 4, exclude="c")
    assert many.ids.shape == (2, 4)
    assert many.ids[:, -1].tolist() == ["", ""]


def test_a_model_folder_holds_ids_of_either_form(form: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = pytest.importorskip("coded_als.models.folder")
    model = Named().set_ids(["é", "NA", "x" * 99], ["a", "b\n", "c", "d"])
    folder.save_folder(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.user_ids.dtype.kind == form
    assert loaded.user_ids.tolist() == ["é", "NA", "x" * 99]
    assert loaded.recommend("x" * 99).ids.tolist() == model.recommend("x" * 99).ids.tolist()


def test_damaged_text_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_of, "_SMALL_BYTES", 0)
    monkeypatch.setattr(ids_of, "_WASTE", 0)
    Named().set_ids(["é", "NA", ""], list("abcd")).save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        members = {name: archive[name] for name in archive.files}
    for bad in (b"\xff", b"a\0a\0b", b"a\0b", b""):
        np.savez(tmp_path / "m.npz", **members | {"text/user_ids": np.frombuffer(bad, np.uint8)})
        with pytest.raises(UsageError, match=r"^(a model must be a complete file|there must be one|user ids must be)"):
            load_model(tmp_path / "m.npz")


@pytest.mark.parametrize("bad", [np.array([1, 2], object), np.array(["a\0b"], object), np.array([], object)])
def test_other_objects_are_not_saved(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="arrays must hold numbers or text; 'x' holds objects"):
        save_model(tmp_path / "m.npz", "test", {"x": bad}, {})


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 2], [3, 4], [5, 6]], "ids must be single values"),
        ([b"a", b"\xff", b"c"], "ids must be UTF-8 text"),
        (["a", "b\0", "c"], "without zero characters"),
        (["a", "\udc80", "c"], "ids must be UTF-8 text"),
        (["a", "b"], "one user id for each of 3"),
        (["a", b"a", "c"], "'a' appears twice"),
    ],
)
def test_lists_that_hold_no_ids_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Named().set_ids(ids, range(4))
