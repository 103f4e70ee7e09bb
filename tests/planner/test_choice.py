"""The choice of a code: costs counted by hand, sound bounds, and one choice for plans, fits and operators."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import CodedALS, CodedOperator, InlineCluster, LocalCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.delays import parse_delays
from coded_als.planner.choice import MARGIN, Race, choose, make_plan, schemes
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import typical_iterations
from coded_als.planner.timing import Draws, Infeasible, Workload, iteration_seconds, least_iteration_seconds

SIZE = Size(600, 400, 10)
DELAYS = [
    "none",
    "exp:mean=5ms",
    "bimodal:p=0.1,fast=5ms,slow=1s",
    "pareto:scale=5ms,alpha=1.2",
    "exp:mean=5ms+dead:n=3",
]


def test_an_iteration_costs_what_is_counted_by_hand() -> None:
    """Nine workers hold 200 of 600 rows each (p = 3); 15 columns go out and 200 x 15 come back, of any three."""
    machine = Machine(multiplications_per_second=1e8, bytes_per_second=1e6, latency_s=0.01, message_s=0.002)
    scheme = Scheme("systematic:p=3", 9, solver="lobpcg")
    workload = Workload(Size(900, 600, 10), "none", machine)
    sending = 9 * (0.002 + 8 * 600 * 15 / 1e6) + 0.01
    computing = 200 * 600 * 15 / 1e8
    receiving = 0.01 + 3 * (0.002 + 8 * 200 * 15 / 1e6)
    master = scheme.master_operations(workload.size) / 1e8
    drawn = iteration_seconds(scheme, workload, Draws(parse_delays("none"), 9, 0, 2))
    np.testing.assert_allclose(drawn, sending + computing + receiving + master, rtol=1e-12)


def test_sharing_d_costs_what_is_counted_by_hand() -> None:
    """D of 600 x 600 is computed at the master (half of 900 x 600 x 600), combined six times, and sent in thirds."""
    machine = Machine(multiplications_per_second=1e8, bytes_per_second=1e6, latency_s=0.01, message_s=0.002)
    scheme = Scheme("systematic:p=3", 9)
    expected = 900 * 600**2 / 2 / 1e8 + 6 * 600**2 / 1e8 + 9 * (0.002 + 8 * 200 * 600 / 1e6) + 0.01
    assert scheme.startup_s(Size(900, 600, 10), machine) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=20)
@given(st.sampled_from(DELAYS), st.integers(4, 14), st.integers(0, 10), st.sampled_from([None, 2]))
def test_no_scheme_is_faster_than_its_bound(delays: str, workers: int, seed: int, cores: int | None) -> None:
    workload = Workload(SIZE, delays, Machine(cores=cores))
    draws = Draws(workload.model, workers, seed, 2)
    for scheme in list(schemes(workers, ("lobpcg",)))[:: max(1, workers // 4)]:
        try:
            bound, _ = least_iteration_seconds(scheme, workload, draws, 5)
            exact = iteration_seconds(scheme, workload, draws, 5)
        except Infeasible:
            continue
        assert (bound <= exact * (1 + 1e-12)).all()


@pytest.mark.parametrize("delays", DELAYS)
def test_what_is_left_at_its_bound_is_no_better_than_what_is_chosen(delays: str) -> None:
    """Against the plain way: every scheme timed exactly."""
    workload = Workload(SIZE, delays, Machine())
    race = Race(workload, schemes(9, ("lobpcg",)), draws=20, most_draws=20)
    best = race.fastest()
    assert best is not None
    everyone = [found for bound in race.bounds if (found := race.timed(bound.scheme)) is not None]
    assert best.mean_s == min(candidate.mean_s for candidate in everyone)
    chosen = race.chosen()
    assert chosen is not None
    assert chosen.mean_s <= (1 + MARGIN) * best.mean_s


@pytest.mark.parametrize("delays", DELAYS[1:])
def test_the_plan_names_the_code_that_fits_and_operators_take(delays: str) -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 40))
    default = make_plan(9, Workload(Size(60, 40, 3), delays, Machine())).default
    assert default is not None
    for cluster in (InlineCluster(9, delays, seed=5), SimulatedCluster(9, delays, seed=5)):
        model = CodedALS(3, iterations=2, tolerance=0.0).fit(ratings, cluster)
        assert model.code_ == default[1].scheme.code
        assert model.code_reason_ == f"chosen by auto: {default[0].reason}"
    operator = CodedOperator(ratings.T @ ratings, InlineCluster(9, delays, seed=5))
    np.testing.assert_allclose(operator @ np.eye(40), ratings.T @ ratings, atol=1e-9)


def test_a_fit_on_local_workers_counts_the_cores_that_they_share() -> None:
    ratings, delays = np.random.default_rng(0).standard_normal((60, 40)), "exp:mean=2ms"
    with LocalCluster(6, delays, seed=1) as cluster:
        assert cluster.machine.cores == len(os.sched_getaffinity(0))
        expected = choose(Size(60, 40, 3), 6, "lobpcg", delays, cluster.machine)
        assert expected is not None
        for verify in ("off", "freivalds"):
            model = CodedALS(3, iterations=2, tolerance=0.0, verify=verify).fit(ratings, cluster)
            assert model.code_ == expected.chosen(Size(60, 40, 3)).spec


def test_without_delays_a_quarter_of_the_workers_stays_in_reserve() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 40))
    assert CodedALS(3).fit(ratings, InlineCluster(8)).code_ == "systematic:p=6"
    assert choose(SIZE, 8, "lobpcg", "none", Machine()) is None


def test_a_trace_is_bootstrapped(tmp_path: Path) -> None:
    """Rounds come in another order in each repetition: intervals have a width, and no second is below zero."""
    rows = [f"{worker},{index},{seconds}" for index in range(7) for worker, seconds in enumerate([0.01 * index] * 6)]
    (tmp_path / "trace.csv").write_text("\n".join(["worker,round,seconds", *rows]) + "\n")
    workload = Workload(SIZE, f"trace:{tmp_path / 'trace.csv'}", Machine(message_s=0.0), None, typical_iterations())
    drawn = iteration_seconds(Scheme("uncoded", 6, solver="lobpcg"), workload, Draws(workload.model, 6, 0, 8))
    totals = drawn.sum(axis=1)
    assert len(set(totals.round(9).tolist())) > 4
    delays = np.unique((drawn - drawn.min()).round(9))
    np.testing.assert_allclose(delays, 0.01 * np.arange(7), atol=1e-9)


def test_what_decodes_badly_is_timed_and_not_chosen() -> None:
    """Codes at real points keep to 1e-8, which is more than a fit wants to prove."""
    workload = Workload(Size(3000, 2000, 50), "bimodal:p=0.1,fast=5ms,slow=1s", Machine(cores=2))
    race = Race(workload, schemes(16, ("lobpcg",)))
    chosen, best = race.chosen(), race.fastest()
    assert chosen is not None
    assert best is not None
    assert chosen.scheme.family.tolerance <= 1e-10 < best.scheme.family.tolerance


def timed_as(seconds: dict[str, float]) -> Race:
    """Schemes that take so many seconds each."""
    race = Race(Workload(SIZE, "exp:mean=5ms", Machine()), [Scheme(code, 9, solver="lobpcg") for code in seconds])
    for bound in race.bounds:
        race._timed[bound.scheme] = replace(bound, totals_s=np.full(bound.totals_s.shape, seconds[bound.scheme.code]))
    race.bounds = sorted(race._timed.values(), key=lambda candidate: candidate.mean_s)
    return race


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"systematic:p=5": 1.0, "replicated:copies=3": 1.04}, "replicated:copies=3"),
        ({"systematic:p=5": 1.0, "replicated:copies=3": 1.06}, "systematic:p=5"),
        ({"systematic:p=5": 1.0, "uncoded": 1.04}, "uncoded"),
        ({"entangled:h=2,points=real": 0.5, "systematic:p=5": 1.0}, "systematic:p=5"),
        ({"entangled:h=2,points=real": 0.5, "systematic:p=5": 1.0, "uncoded": 1.04}, "uncoded"),
        ({"entangled:h=2": 0.9, "systematic:p=5": 1.0, "uncoded": 1.04}, "entangled:h=2"),
    ],
)
def test_plain_blocks_are_taken_within_a_twentieth_and_coarse_codes_never(
    seconds: dict[str, float], chosen: str
) -> None:
    found = timed_as(seconds).chosen()
    assert found is not None
    assert found.scheme.code == chosen


def test_workers_that_share_cores_compute_in_turn() -> None:
    """Without delays the first of many is as soon there as alone, and the last waits for all before it."""
    size = Size(3000, 2000, 50)
    alone, shared = (Workload(size, "none", Machine(1e10, np.inf, 0.0, 0.0, cores)) for cores in (None, 2))
    rows = [Scheme(f"systematic:p={p}", 16, solver="lobpcg") for p in (1, 16)]
    seconds = {
        (workload.machine.cores, scheme.code): iteration_seconds(
            scheme, workload, Draws(workload.model, 16, 0, 1)
        ).mean()
        for workload in (alone, shared)
        for scheme in rows
    }
    work_s = Machine().computing_s(2000**2 * 55)
    assert seconds[2, "systematic:p=1"] == pytest.approx(seconds[None, "systematic:p=1"], rel=1e-9)
    assert seconds[2, "systematic:p=16"] - seconds[None, "systematic:p=16"] == pytest.approx(7 / 16 * work_s, rel=0.01)
