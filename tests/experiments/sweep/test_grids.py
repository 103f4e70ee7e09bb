"""From options to cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import Cell, distinct_delays, make_grid, parse_choices, parse_range

OPTIONS = {
    "partitions": "2:3", "workers": "10,20", "stragglers": "0", "protocol": "fused", "solver": "lobpcg",
}  # fmt: skip
CODES = ("uncoded", "replicated", "systematic", "entangled", "entangled:points=real", "entangled:p=5,r=2")


@pytest.mark.parametrize(
    ("text", "values"), [("2:6", (2, 3, 4, 5, 6)), ("10:50:20", (10, 30, 50)), ("4,6,4", (4, 6)), ("7", (7,))]
)
def test_ranges(text: str, values: tuple[int, ...]) -> None:
    assert parse_range(text, "workers") == values


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 9))
def test_a_range_has_both_ends(first: int, span: int, step: int) -> None:
    values = parse_range(f"{first}:{first + span}:{step}", "workers")
    assert values[0] == first
    assert values[-1] == first + span - span % step


@pytest.mark.parametrize("text", ["6:2", "2:6:0", "", "a", "1:2:3:4", "0", "0:4", "-1", "2,,3"])
def test_bad_ranges_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="workers") as caught:
        parse_range(text, "workers")
    assert "\n" not in str(caught.value)


def test_bad_choices_are_refused() -> None:
    with pytest.raises(UsageError, match="'line'"):
        parse_choices("circle,line", "points", ("circle", "real"))


def test_a_grid_has_each_scheme_once() -> None:
    cells = make_grid(OPTIONS, (*CODES, "replicated:copies=2"), ["none", "exp:mean=1s"]).cells()
    assert len(cells) == 2 * 2 * (4 + 2 * 2)
    assert len({str(cell.key()) for cell in cells}) == len(cells)
    for cell in cells:
        assert Cell.of(cell.key()) == cell
        assert (cell.key()["partitions"] is None) == (cell.key()["code"] not in ("entangled", "entangled:points=real"))


def test_the_papers_protocol_exists_for_coded_als_alone() -> None:
    cells = make_grid({**OPTIONS, "protocol": "fused,paper", "solver": "als,lobpcg"}, CODES, ["none"]).cells()
    paper = [cell.key() for cell in cells if cell.scheme.protocol == "paper"]
    assert {(key["code"], key["solver"]) for key in paper} == {
        ("entangled", "als"),
        ("entangled:points=real", "als"),
    }
    with pytest.raises(UsageError, match="must have a cell"):
        make_grid({**OPTIONS, "protocol": "paper"}, ["uncoded"], ["none"]).cells()


def test_dead_workers_are_added_to_the_delays() -> None:
    options = {**OPTIONS, "workers": "9", "stragglers": "0,3"}
    [none, some] = make_grid(options, ["uncoded"], ["exp:mean=1s"]).cells()
    assert none.injected_delays == "exp:mean=1s"
    assert some.injected_delays == "exp:mean=1s+dead:n=3"


def test_delays_keep_their_order_and_each_model_is_there_once(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("worker,round,seconds\n0,0,0.5\n")
    specs = [
        "pareto:alpha=2,scale=1ms",
        "exp:mean=20ms",
        f"trace:{trace}",
        " exp:mean=20ms",
        "exp:mean=0.02s",
        f"trace:{trace}",
    ]
    assert distinct_delays(specs) == (*specs[:2], specs[2])
    with pytest.raises(UsageError, match="delays must be"):
        distinct_delays(["none", "gauss:1"])


def test_joined_grids_have_the_values_of_both_in_order() -> None:
    one = make_grid(OPTIONS, CODES[:2], ("none", "exp:mean=1s"))
    two = make_grid({**OPTIONS, "partitions": "5,1"}, ("entangled", "uncoded"), ("exp:mean=2s", "none"))
    both = one.joined(two)
    assert both.partitions == (1, 2, 3, 5)
    assert both.codes == ("uncoded", "replicated:copies=2", "entangled")
    assert both.delays == ("none", "exp:mean=1s", "exp:mean=2s")
    assert one.joined(one) == one
    assert set(both.cells()) >= {*one.cells(), *two.cells()}
