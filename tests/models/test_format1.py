"""Models that were saved in format 1, kept as files, are loaded and answer as they did then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded_als import load_model
from coded_als.errors import UsageError
from coded_als.models.registry import model_kinds

FOLDER = Path(__file__).parent / "format1"
TOLD: dict[str, dict[str, Any]] = json.loads((FOLDER / "told.json").read_text())


def test_each_kind_of_model_has_a_file() -> None:
    # those with a closed form came with format 2
    kinds = set(model_kinds()) - {"ease", "popularity"}
    assert set(TOLD) == kinds == {path.stem for path in FOLDER.glob("*.npz")}


@pytest.mark.parametrize("kind", TOLD)
def test_a_model_of_format_1_is_loaded_and_answers_as_then(kind: str) -> None:
    model, told = load_model(FOLDER / f"{kind}.npz"), TOLD[kind]
    assert type(model).__name__ == told["class"]
    assert model.get_params().items() >= told["parameters"].items()
    assert model.user_ids.tolist() == [f"u{row}" for row in range(6)]
    assert model.item_ids.tolist() == [10, 20, 30, 40, 50]
    for row, scores in enumerate(told["scores"]):
        np.testing.assert_allclose(model.scores(row), scores, rtol=1e-5, atol=1e-7)
    assert model.recommend("u1", 2).ids.tolist() == told["recommended"]


def test_a_model_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    with np.load(FOLDER / "ridge.npz") as archive:
        members = dict(archive)
    header = json.loads(str(members.pop("header"))) | {"version": 2}
    np.savez(tmp_path / "later.npz", header=np.array(json.dumps(header)), **members)
    with pytest.raises(UsageError, match=r"format version 1; .* has 2\. Upgrade coded-als"):
        load_model(tmp_path / "later.npz")
