"""Draws of rare delays: their means against exact ones, and what is drawn where not much is known of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from coded_als.arrays import Array
from coded_als.cluster import AnyOfEach, Fastest, StoppingRule
from coded_als.cluster.machine import Machine
from coded_als.cluster.waiting import RoundCost, waiting_s
from coded_als.delays import Trace, parse_delays
from coded_als.delays.models import Uniforms
from coded_als.planner.choice import Race
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import typical_iterations
from coded_als.planner.timing import Draws, RoundDraws, Workload, draws_of

WORKERS, SEEDS = 10, 40
NOTHING = [(RoundCost(0.0), Fastest(1))]


def delays_of(draws: RoundDraws) -> Array:
    return draws.delays(NOTHING, 1)[:, 0, 0]


def copies(blocks: int) -> AnyOfEach:
    return AnyOfEach(tuple(frozenset(range(block, WORKERS, blocks)) for block in range(blocks)))


def all_slow(share: float, groups: list[int]) -> float:
    """The chance that all of some group are slow."""
    return float(1 - np.prod([1 - share**size for size in groups]))


# of two-valued delays of 0 s and 1 s: the chance that a round is slow is its mean
CASES = [
    ("bimodal:p=0.002,fast=0s,slow=1s", Fastest(10), 1 - 0.998**10),
    ("bimodal:p=0.002,fast=0s,slow=1s", Fastest(8), stats.binom.sf(2, 10, 0.002)),
    ("bimodal:p=0.02,fast=0s,slow=1s", copies(3), all_slow(0.02, [4, 3, 3])),
    ("markov:fast=0s,slow=1s,enter=0.02,leave=0.1", Fastest(6), stats.binom.sf(4, 10, 1 / 6)),
    ("markov:fast=0s,slow=1s,enter=0.002,leave=0.02", copies(2), all_slow(1 / 11, [5, 5])),
]


@pytest.mark.parametrize(("spec", "rule", "mean"), CASES)
def test_intervals_hold_the_chance_of_what_is_rare(spec: str, rule: StoppingRule, mean: float) -> None:
    held, given, values = 0, 0, []
    for seed in range(SEEDS):
        draws = RoundDraws(parse_delays(spec), WORKERS, seed, 400)
        estimate = draws.sampling.estimate(waiting_s(delays_of(draws), rule))
        values.append(estimate.value)
        if estimate.low is not None and estimate.high is not None:
            given += 1
            held += estimate.low <= mean <= estimate.high
    assert given >= 0.9 * SEEDS
    # 95 % of 40 is 38; 34 or fewer have a chance of 1 in 70
    assert held >= 35 * given / SEEDS
    assert np.mean(values) == pytest.approx(mean, abs=4 * np.std(values) / np.sqrt(SEEDS) + 1e-12)


@pytest.mark.parametrize(
    ("spec", "law"), [("exp:mean=1s", stats.expon()), ("pareto:scale=1s,alpha=2.2", stats.pareto(2.2))]
)
@pytest.mark.parametrize("k", [4, 10])
def test_means_of_order_statistics_are_those_of_their_integral(spec: str, law: stats.rv_continuous, k: int) -> None:
    def density(x: float) -> float:
        return float(law.isf(x) * stats.beta(WORKERS - k + 1, k).pdf(x))

    mean = integrate.quad(density, 0, 0.01)[0] + integrate.quad(density, 0.01, 1)[0]
    held = 0
    for seed in range(SEEDS):
        draws = RoundDraws(parse_delays(spec), WORKERS, seed, 400)
        estimate = draws.sampling.estimate(np.sort(delays_of(draws), axis=1)[:, k - 1])
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= mean <= estimate.high
    # 95 % of 40 is 38; 32 or fewer have a chance of 1 in 1000
    assert held >= 33


@pytest.mark.parametrize("spec", ["exp:mean=1s", "exp:mean=1s+bimodal:p=0.01,fast=0s,slow=9s", CASES[3][0]])
def test_weights_are_those_of_the_law(spec: str) -> None:
    """They average to 1, and none is above 2: half of the draws are made as the delays are."""
    weights = np.array([RoundDraws(parse_delays(spec), WORKERS, seed, 400).sampling.weights for seed in range(40)])
    assert weights.max() <= 2.0
    assert weights.mean() == pytest.approx(1.0, abs=4 * weights.mean(axis=1).std() / np.sqrt(40))


def test_lasting_choices_differ_from_draw_to_draw_and_the_dead_stay_dead() -> None:
    drawn = delays_of(RoundDraws(parse_delays("exp:mean=1s+dead:n=2"), WORKERS, 0, 400))
    dead = np.isinf(drawn)
    assert (dead.sum(axis=1) == 2).all()
    assert dead.any(axis=0).all()


def test_a_recording_is_gone_through_in_its_order() -> None:
    recorded = np.random.default_rng(0).exponential(size=(7, WORKERS))
    draws = draws_of(Trace(recorded), WORKERS, 0, 400)
    np.testing.assert_array_equal(draws.delays(NOTHING, 1)[:, 0, 0], recorded)
    assert draws.sampling.rounds == 7


def test_what_is_added_to_a_recording_is_drawn_in_each_turn(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("worker,round,seconds\n" + "".join(f"0,{index},{index}\n" for index in range(7)))
    draws = draws_of(parse_delays(f"trace:{tmp_path / 't.csv'}+uniform:low=0s,high=0.5s"), 1, 0, 20)
    drawn = draws.delays(NOTHING, 1)[:, 0, 0, 0]
    assert (len(draws), draws.sampling.rounds) == (21, 7)
    np.testing.assert_array_equal(np.floor(drawn), np.tile(np.arange(7), 3))
    assert len(np.unique(drawn)) == 21


@dataclass(frozen=True)
class Ramp:
    """A model from elsewhere, whose rounds are not alike."""

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return 0.001 * round_index + 0.001 * uniforms(0), None


def test_a_model_from_elsewhere_is_drawn_in_runs() -> None:
    draws = draws_of(Ramp(), WORKERS, 0, 400)
    assert isinstance(draws, Draws)
    assert len(draws) == 20
    workload = Workload(Size(200, 100, 5), Ramp(), Machine(), None, typical_iterations(lobpcg=11))
    found = Race(workload, [Scheme("uncoded", WORKERS, solver="lobpcg")]).fastest()
    assert found is not None
    # 0 to 10 ms over eleven rounds, and of ten workers the last: 10/11 ms more in each
    waited = found.mean_s - found.startup_s - found.master_s
    assert waited == pytest.approx(0.055 + 11 * 0.001 * 10 / 11, rel=0.25)
