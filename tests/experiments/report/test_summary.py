"""The summary of a sweep: what is fastest, what ties, and what equal memory buys."""

from __future__ import annotations

import re

import pytest

from coded_als.experiments.report.canvas import axis_number, memory, plain
from coded_als.experiments.report.html_report import near_ties, sentences
from coded_als.experiments.report.slices import slices


def row(code, mean, half, memory_bytes, *, partitions=None):
    cell = {"code": code, "partitions": partitions}
    cell |= {"workers": 20, "protocol": "fused", "solver": "als", "stragglers": 0, "delays": "exp:mean=1s"}
    seconds = {"mean": mean, "low95": mean - half, "high95": mean + half}
    return {
        "cell": cell,
        "status": "done",
        "worker_storage_bytes": memory_bytes,
        **{f"virtual_seconds_{name}": value for name, value in seconds.items()},
    }


ROWS = [
    row("uncoded", 190.0, 1.0, 500),
    row("replicated:copies=2", 12.0, 0.1, 1000),
    row("replicated:copies=4", 6.0, 0.1, 2000),
    row("entangled", 5.0, 0.05, 1500, partitions=4),
    row("entangled", 5.2, 0.01, 900, partitions=6),
    row("entangled:points=real", 7.0, 2.5, 1600, partitions=3),
    row("entangled:points=real", 7.0, 0.1, 1600, partitions=2),
]


@pytest.fixture
def part():
    [part] = slices(ROWS, "virtual")
    return part


def test_every_near_tie_is_named_and_nothing_else(part) -> None:
    ties = near_ties(part, sorted(part.largest, key=part.mean))
    # within 5 %, and with an interval that overlaps
    assert [tie["cell"]["partitions"] for tie in ties] == [6, 3]
    assert "entangled, h = 6 (5.2); entangled:points=real, h = 3 (7)" in sentences(part)[1]


def test_the_fastest_is_beside_uncoded(part) -> None:
    assert sentences(part)[0] == "entangled, h = 4 is fastest with 5 virtual seconds, 38 times as fast as uncoded."


def test_equal_memory_takes_the_fastest_code_that_fits(part) -> None:
    four, two = sentences(part)[2:]
    assert (
        "replicated:copies=4 (2 kB a worker, 6 virtual seconds) the fastest code is entangled, h = 4 (1.5 kB): 1.2"
        in four
    )
    assert (
        "replicated:copies=2 (1 kB a worker, 12 virtual seconds) the fastest code is entangled, h = 6 (900 bytes)"
        in two
    )
    [part] = slices([*ROWS[:4], ROWS[5]], "virtual")
    assert "no coded cell of this sweep fits" in sentences(part)[-1]


def test_no_number_is_written_with_an_exponent_that_it_does_not_need(part) -> None:
    assert not re.search(r"\de[+-]?\d", " ".join(sentences(part)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (190.0, "190"), (123456.0, "123000"), (1e-12, "1e-12"), (-0.5, "-0.5"), (2e7, "2e7")],
)
def test_plain_numbers(value: float, text: str) -> None:
    assert plain(value) == text
    assert float(text) == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.02, "0.02"), (1500, "1500"), (1e-9, "10⁻⁹"), (-2.0, "−2")])
def test_numbers_of_axes(value: float, text: str) -> None:
    assert axis_number(value) == text


def test_memory_has_a_unit() -> None:
    assert [memory(count) for count in (12, 4_092_000, 3e12)] == ["12 bytes", "4.09 MB", "3000 GB"]
