"""Scores by row and column: of pairs that are there, and of no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import evaluation
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel


class Scores(FactorModel):
    kind = "test-pairs"

    def __init__(self, users: int = 4, items: int = 5) -> None:
        rng = np.random.default_rng(0)
        self._keep(
            rng.standard_normal((users, 2)),
            rng.standard_normal((items, 2)),
            user_biases=rng.standard_normal(users),
            item_biases=rng.standard_normal(items),
            global_mean=2.0,
        )


def test_an_unknown_user_or_item_has_no_score() -> None:
    model = Scores()
    rows, columns = model.user_rows([0, 99]), model.item_columns([1, 77])
    with pytest.raises(UsageError, match=r"rows must be numbers of users from 0 to 3; got -1 at place 1 .*unknown id"):
        model.predict_pairs(rows, [0, 1])
    with pytest.raises(UsageError, match=r"columns must be numbers of items from 0 to 4; got -1 at place 1 "):
        model.predict_pairs([0, 1], columns)
    for row in (-1, 4):
        with pytest.raises(UsageError, match=f"rows must be numbers of users from 0 to 3; got {row}"):
            model.scores(row)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([0, 1, 2], [0], r"one column for each row; got shapes \(3,\) and \(1,\)"),
        ([0], [0, 1], "one column for each row"),
        ([[0], [1]], [[0], [1]], "one column for each row"),
        (0, 1, "one column for each row"),
        ([0, 4], [0, 0], "from 0 to 3; got 4 at place 1"),
        ([0, 0], [5, 0], "from 0 to 4; got 5 at place 0"),
        ([0.5], [0], "rows must be whole numbers; got float64"),
        ([0], [True], "columns must be whole numbers; got bool"),
        (["0"], [0], "rows must be whole numbers; got <U1"),
    ],
)
def test_pairs_that_are_none_are_refused(rows: object, columns: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Scores().predict_pairs(rows, columns)  # type: ignore[arg-type]


def test_no_pairs_have_no_scores() -> None:
    assert Scores().predict_pairs([], []).shape == (0,)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-2, 5), st.integers(-2, 6)), max_size=6))
def test_pairs_have_the_scores_of_their_row_or_are_refused(pairs: list[tuple[int, int]]) -> None:
    model = Scores()
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    if all(0 <= row < 4 and 0 <= column < 5 for row, column in pairs):
        expected = [model.scores(row)[column] for row, column in pairs]
        np.testing.assert_allclose(model.predict_pairs(rows, columns), expected, rtol=1e-12)
    else:
        with pytest.raises(UsageError, match="must be numbers of"):
            model.predict_pairs(rows, columns)


def names(model: FactorModel, **options: object) -> list[object]:
    return list(model.recommend(0, **options).ids.tolist())  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [True, False], ids=["text ids", "number ids"])
def test_one_id_is_not_taken_apart_into_its_characters(text: bool) -> None:
    ids = [28, 2, 8, 3, 4]
    model = Scores().set_ids(range(4), list(map(str, ids)) if text else ids)
    known = model.item_ids.tolist()
    for one in ("28", b"28", 28, np.int64(28), np.str_("28")):
        left = names(model, exclude=one)
        assert sorted(left, key=known.index) == known[1:]
        assert left == names(model, exclude=[one])
        assert names(model, items=one) == known[:1]
        assert model.item_columns(one).tolist() == [0]  # type: ignore[arg-type]
        assert model.similar_items(one).ids.shape == (4,)  # type: ignore[arg-type]
        assert model.predict(0, one) == model.scores(0)[0]  # type: ignore[arg-type]
    assert len(names(model, exclude="99")) == 5
    with pytest.raises(UsageError, match="got '99'"):
        names(model, items="99")


def test_columns_to_leave_out_are_whole_numbers() -> None:
    users, items = np.ones((1, 1)), np.ones((30, 1))
    for exclude in ("28", ["28"], [2.7], 3, [[1], [2]]):
        with pytest.raises(UsageError, match="exclude must name columns"):
            evaluation.recommend_batch(users, items, exclude=exclude)  # type: ignore[arg-type]
    for exclude in ([], (), set(), np.array([]), iter([28]), {28}, np.array([28])):
        columns, _ = evaluation.recommend_batch(users, items, 30, exclude=exclude)
        assert len(set(columns[0].tolist()) - {-1}) in (29, 30)
