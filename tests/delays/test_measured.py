"""Models from measurements against the figures that were published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coded_als.delays import MEASURED, DelayStream, is_stationary, parse_delays, slows
from coded_als.delays.models import QuantileLaw
from coded_als.errors import UsageError

DOCS = Path(__file__).parents[2] / "docs"


def drawn(name: str, workers: int = 400, rounds: int = 1000) -> np.ndarray:
    stream = DelayStream(f"measured:{name}", workers, 3)
    return np.array([stream.next_round() for _ in range(rounds)])


@pytest.mark.parametrize("name", MEASURED)
def test_draws_meet_the_published_quantiles(name: str) -> None:
    """Within 3 % of their seconds; the least and the largest of a bounded law too."""
    values = drawn(name).ravel()
    for probability, seconds in MEASURED[name].published.items():
        assert np.quantile(values, probability) == pytest.approx(seconds, rel=0.03)


@pytest.mark.parametrize("name", ["lambda", "lambda-outliers"])
def test_the_law_itself_meets_them_exactly(name: str) -> None:
    model = MEASURED[name].model
    assert isinstance(model, QuantileLaw)
    for probability, seconds in MEASURED[name].published.items():
        assert model.quantile_s(np.array([probability])).item() == pytest.approx(seconds, rel=1e-3)


def test_slow_functions_stay_slow_as_often_as_was_published() -> None:
    found = drawn("lambda")
    slow = found > np.quantile(found, 1 - 0.066 / (0.066 + 0.82))
    before, after = slow[:-1], slow[1:]
    assert after[before].mean() == pytest.approx(0.18, abs=0.01)
    assert after[~before].mean() == pytest.approx(0.066, abs=0.003)


def test_one_call_in_seven_hundred_is_an_outlier_of_15_to_33_medians() -> None:
    found = drawn("lambda-outliers").ravel()
    long = found[found > 5]
    assert long.size / found.size == pytest.approx(0.0014, rel=0.1)
    assert (long >= 15 * 0.644 - 0.01).all()
    assert (long <= 33 * 0.644).all()
    assert long.mean() == pytest.approx(24 * 0.644, rel=0.05)


def test_one_machine_stays_three_times_slower() -> None:
    stream = DelayStream("measured:slow-machine", 9, 1)
    factors = np.array([stream.disturb().slowness for _ in range(5)])
    assert sorted(factors[0]) == [1.0] * 8 + [3.0]
    assert (factors == factors[0]).all()


@pytest.mark.parametrize("name", MEASURED)
def test_each_model_is_named_drawn_and_documented(name: str) -> None:
    page = (DOCS / "delays.md").read_text()
    assert f"## `measured:{name}`" in page
    assert f"figures/delays-{name}.svg" in page
    assert (DOCS / "figures" / f"delays-{name}.svg").stat().st_size < 200_000
    assert is_stationary(MEASURED[name].model)
    assert parse_delays(f"measured:{name}") == MEASURED[name].model
    assert slows(MEASURED[name].model) == (name == "slow-machine")


def test_measured_delays_add_up_with_others() -> None:
    stream = DelayStream("measured:tail-at-scale+dead:n=1", 3)
    assert np.isinf(stream.next_round()).sum() == 1


@pytest.mark.parametrize("spec", ["measured:", "measured:lambda,p=1", "measured"])
def test_an_unknown_measurement_is_refused_with_the_names(spec: str) -> None:
    with pytest.raises(UsageError, match=r"measured must be one of lambda, .*; got"):
        parse_delays(spec)


@pytest.mark.parametrize(
    ("probabilities", "seconds"),
    [
        ((0.0, 1.0), (1.0, 2.0)),
        ((0.1, 0.5), (1.0, 2.0)),
        ((0.0, 0.5), (2.0, 1.0)),
        ((0.0,), (1.0,)),
        ((0.0, 0.5), (-1.0, 1.0)),
    ],
)
def test_a_law_that_is_none_is_refused(probabilities: tuple[float, ...], seconds: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        QuantileLaw(probabilities, seconds)
