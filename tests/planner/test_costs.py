"""What a plan charges, against counts by hand: on a machine where one thing is dear, all else is free."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from coded_als.cli.plan import command

ROWS, LENGTH, RANK, WORKERS, ITERATIONS = 900, 600, 10, 9, 10
# the eigensolver's block: the rank and five guards
BLOCK = RANK + 5
FREE, DEAR = 1e15, 1e3


@pytest.fixture(scope="module")
def planned() -> Any:
    """The candidates of a plan by label, on a machine of a given speed and bandwidth."""

    def planned(speed: float, bandwidth: float) -> dict[str, dict[str, float]]:
        numbers = {
            "workers": WORKERS, "rows": ROWS, "cols": LENGTH, "rank": RANK, "repeats": 2,
            "lobpcg-iterations": ITERATIONS, "speed": speed, "bandwidth": f"{bandwidth}B/s", "latency": 0.0,
        }  # fmt: skip
        options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        result = CliRunner().invoke(command, [*options, "--delays", "none", "--json"], catch_exceptions=False)
        return {candidate["label"]: candidate for candidate in json.loads(result.stdout)["candidates"]}

    return planned


def iterating_s(candidate: dict[str, float]) -> float:
    return candidate["virtual_seconds_mean"] - candidate["startup_seconds"]


def test_what_is_sent_shares_the_link(planned: Any) -> None:
    candidates = planned(FREE, DEAR)
    uncoded, coded = candidates["uncoded, fused, lobpcg"], candidates["systematic:p=3, fused, lobpcg"]
    words = LENGTH**2  # nine blocks of 200 x 200; in the code nine shares of 200 x 600
    assert uncoded["startup_seconds"] == pytest.approx(8 * words / DEAR, rel=1e-3)
    assert coded["startup_seconds"] == pytest.approx(8 * 3 * words / DEAR, rel=1e-3)
    # 200 x 15 to each of nine and back again; in the code all of 600 x 15 to each, and 200 x 15 back from three
    there_and_back = 9 * 200 * BLOCK + 9 * 200 * BLOCK, 9 * 600 * BLOCK + 3 * 200 * BLOCK
    for candidate, sent in zip((uncoded, coded), there_and_back, strict=True):
        assert iterating_s(candidate) == pytest.approx(ITERATIONS * 8 * sent / DEAR, rel=1e-3)


def test_what_the_master_computes_takes_its_time(planned: Any) -> None:
    candidates = planned(DEAR, FREE)
    uncoded, coded = candidates["uncoded, fused, lobpcg"], candidates["systematic:p=3, fused, lobpcg"]
    combined = 6 * LENGTH**2  # the first three shares are plain
    assert coded["startup_seconds"] >= 0.999 * combined / DEAR
    # beside the 200 x 200 x 15 of every worker at least the projection of a block and its images
    workers, projection = 200 * 200 * BLOCK, 2 * LENGTH * BLOCK**2
    assert iterating_s(uncoded) >= ITERATIONS * (workers + projection) / DEAR
    assert iterating_s(coded) >= ITERATIONS * (200 * LENGTH * BLOCK + projection) / DEAR
