"""Straggler models against their closed forms, the SPEC grammar, streams and traces."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from coded_als.delays import MODELS, DelayStream, Trace, arrival_order, hashed_uniforms, parse_delays, read_trace
from coded_als.delays.models import (
    Bimodal,
    Bootstrap,
    Dead,
    Markov,
    NormalPerOperation,
    Pareto,
    ShiftedExponential,
    Slow,
    Sum,
    Uniform,
)
from coded_als.delays.traces import Survival, read_recording
from coded_als.errors import UsageError

SPECS = [
    "none",
    "exp:mean=20ms",
    "shifted-exp:shift=5ms,mean=20ms",
    "uniform:low=1ms,high=3ms",
    "pareto:scale=1ms,alpha=2.5",
    "normal-ops:mu=1e-9s,sigma=1e-8s",
    "bimodal:p=0.2,fast=5ms,slow=1s",
    "markov:fast=5ms,slow=1s,enter=0.1,leave=0.3",
    "slow:n=2,delay=1s",
    "dead:n=2",
    "exp:mean=20ms+dead:n=2",
    "lognormal:median=20ms,sigma=1",
    "exp:mean=20ms+slowdown:p=0.2,factor=3",
]


def draws(spec: str, workers: int = 200, rounds: int = 100, seed: int = 5, operations: float = 1e6) -> np.ndarray:
    stream = DelayStream(spec, workers, seed)
    return np.array([stream.next_round(operations) for _ in range(rounds)])


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ("exp:mean=20ms", stats.expon(scale=0.02)),
        ("shifted-exp:shift=5ms,mean=20ms", stats.expon(loc=0.005, scale=0.02)),
        ("uniform:low=1ms,high=3ms", stats.uniform(0.001, 0.002)),
        ("pareto:scale=1ms,alpha=2.5", stats.pareto(2.5, scale=0.001)),
        ("lognormal:median=20ms,sigma=0.5", stats.lognorm(0.5, scale=0.02)),
        ("normal-ops:mu=1e-9s,sigma=1e-9s", stats.norm(1e6 * 1e-9, 1e3 * 1e-9)),
    ],
)
def test_draws_follow_their_law(spec: str, law: stats.rv_continuous) -> None:
    assert stats.kstest(draws(spec).ravel(), law.cdf).pvalue > 0.01


def test_workers_and_rounds_are_independent() -> None:
    table = draws("uniform:low=0s,high=1s", workers=400, rounds=400)
    limit = 4 / np.sqrt(table.size)
    assert abs(np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < limit


def test_summands_have_numbers_of_their_own() -> None:
    total = draws("exp:mean=1s+exp:mean=1s")
    assert stats.kstest(total.ravel(), stats.gamma(2).cdf).pvalue > 0.01


def test_bimodal_share_of_slow_workers() -> None:
    table = draws("bimodal:p=0.2,fast=5ms,slow=1s")
    assert set(np.unique(table)) == {0.005, 1.0}
    assert abs((table == 1.0).mean() - 0.2) < 3 * np.sqrt(0.2 * 0.8 / table.size)


def test_markov_is_stationary_with_geometric_bursts() -> None:
    slow = draws("markov:fast=5ms,slow=1s,enter=0.1,leave=0.3", workers=2000, rounds=200) == 1.0
    share = 0.1 / (0.1 + 0.3)
    # neighbouring rounds are correlated by 1 - enter - leave = 0.6, so the mean over rounds has 4 times the variance
    assert abs(slow[0].mean() - share) < 4 * np.sqrt(share * (1 - share) / 2000)
    assert abs(slow.mean() - share) < 4 * np.sqrt(4 * share * (1 - share) / slow.size)
    assert abs(slow[1:][~slow[:-1]].mean() - 0.1) < 0.005
    assert abs((~slow[1:][slow[:-1]]).mean() - 0.3) < 0.01


@pytest.mark.parametrize(("spec", "value"), [("slow:n=3,delay=1s", 1.0), ("dead:n=3", np.inf)])
def test_lasting_choices_stay(spec: str, value: float) -> None:
    table = draws(spec, workers=20, rounds=10)
    assert ((table == value).sum(axis=1) == 3).all()
    assert (table == table[0]).all()


def test_the_slow_and_the_dead_are_chosen_independently() -> None:
    overlap = [
        int(((draws("slow:n=10,delay=1s", 20, 1, seed) == 1.0) & np.isinf(draws("dead:n=10", 20, 1, seed))).sum())
        for seed in range(40)
    ]
    # hypergeometric: mean 5, deviation 1.15
    assert len(set(overlap)) > 1
    assert abs(np.mean(overlap) - 5.0) < 4 * 1.15 / np.sqrt(40)


@settings(max_examples=40)
@given(st.sampled_from(SPECS), st.integers(1, 40), st.integers(0, 2**63), st.integers(1, 5))
def test_equal_seeds_give_equal_draws_that_are_never_negative(spec: str, workers: int, seed: int, rounds: int) -> None:
    first, again = (draws(spec, workers, rounds, seed) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (rounds, workers)
    assert (first >= 0).all()


@settings(max_examples=30)
@given(st.sampled_from([s for s in SPECS if "n=" not in s]), st.integers(1, 40), st.integers(0, 99))
def test_a_workers_draws_do_not_depend_on_how_many_there_are(spec: str, workers: int, seed: int) -> None:
    np.testing.assert_array_equal(draws(spec, workers, 4, seed), draws(spec, workers + 7, 4, seed)[:, :workers])


def test_hashed_uniforms_are_frozen() -> None:
    """Recorded results stay reproducible only while these numbers stay what they are."""
    numbers = hashed_uniforms(0, 0, 0, np.arange(3, dtype=np.uint64))
    np.testing.assert_array_equal(numbers, FROZEN)


FROZEN = [0.7054254240100606, 0.5124746902167772, 0.8214084846240195]


def test_arrival_order_leaves_the_dead_out_and_breaks_ties_by_id() -> None:
    assert arrival_order(np.array([2.0, np.inf, 1.0, 1.0])) == (2, 3, 0)


@pytest.mark.parametrize("spec", SPECS)
def test_every_example_is_parsed(spec: str) -> None:
    parse_delays(spec)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1us", 1e-6), ("10us", 1e-5), ("3ms", 0.003), ("1s", 1.0), ("1min", 60.0), ("1.5min", 90.0), ("1e-3s", 0.001)],
)
def test_units_of_time(text: str, seconds: float) -> None:
    np.testing.assert_allclose(draws(f"uniform:low={text},high={text}", workers=2, rounds=1), seconds, rtol=1e-15)


def test_normal_delays_below_zero_are_no_delay() -> None:
    table = draws("normal-ops:mu=1e-9s,sigma=1us", operations=1e4)
    # N(1e-5 s, (1e-4 s)^2): 46 % of the mass lies below zero
    below = stats.norm(1e-5, 1e-4).cdf(0)
    assert table.min() == 0.0
    assert (table == 0.0).mean() == pytest.approx(below, abs=0.02)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("gauss:mean=1", "must be one of"),
        ("exp", "needs mean"),
        ("exp:median=1s", "takes mean"),
        ("exp:mean=-1s", "a time with its unit"),
        ("exp:mean=1h", "a time with its unit"),
        ("exp:mean=", "a time with its unit"),
        ("exp:mean=1e999", "a time with its unit"),
        ("bimodal:p=2,fast=0s,slow=1s", "a probability"),
        ("bimodal:p=0.2s,fast=0s,slow=1s", "a probability"),
        ("dead:n=1.5", "a whole number"),
        ("dead:n=1s", "a whole number"),
        ("exp:mean=20", "a time with its unit, like 20ms or 1s; got '20'"),
        ("exp:mean=0", "a time with its unit"),
        ("pareto:scale=1ms,alpha=2s", "without a unit"),
        ("pareto:scale=0s,alpha=1", "a time with its unit"),
        ("markov:fast=0s,slow=1s,enter=0,leave=0", "must not both be 0"),
        ("uniform:low=3s,high=1s", "low must not be above high"),
        ("none:a=1", "no parameters"),
        ("trace:/nonexistent/trace.csv", "readable CSV"),
        ("", "must be one of"),
        ("exp:mean=1s+", "must be one of"),
    ],
)
def test_bad_specs_are_refused_in_one_line(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_delays(spec)
    assert "\n" not in str(caught.value)


def test_a_spec_that_does_not_go_together_is_named_in_the_error() -> None:
    spec = "exp:mean=1s+uniform:low=3s,high=1s"
    with pytest.raises(UsageError, match=re.escape("low must not be above high; got 'uniform:low=3s,high=1s'. Swap")):
        parse_delays(spec)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ShiftedExponential(mean=-1.0), "mean must be finite seconds of at least 0; got -1.0"),
        (lambda: ShiftedExponential(1.0, shift=math.nan), "shift must be finite seconds"),
        (lambda: ShiftedExponential(mean=math.inf), "mean must be finite seconds"),
        (lambda: ShiftedExponential(mean="20ms"), "mean must be finite seconds"),
        (lambda: Bimodal(7, 1, 2), "p must be a probability in .0, 1.; got 7"),
        (lambda: Bimodal(True, 1, 2), "p must be a probability"),
        (lambda: Markov(1, 2, 0, 0), "enter and leave must not both be 0; got Markov"),
        (lambda: Markov(1, 2, 0.5, 1.5), "leave must be a probability"),
        (lambda: Uniform(3.0, 1.0), "low must not be above high; got Uniform"),
        (lambda: Pareto(0.0, 1.0), "scale must be finite seconds above 0"),
        (lambda: Pareto(1.0, 0.0), "alpha must be a finite number above 0"),
        (lambda: Slow(1.5, 1.0), "n must be a whole number"),
        (lambda: Dead(-1), "n must be a whole number of at least 0; got -1"),
        (lambda: Sum(()), "models must be at least one"),
        (lambda: Trace(np.zeros(3)), r"seconds must be a NumPy array of numbers, .*got \(3,\)"),
        (lambda: Trace([[1.0]]), "seconds must be a NumPy array"),
        (lambda: Trace(np.zeros((0, 3))), "seconds must be a NumPy array"),
        (lambda: Bootstrap(np.array([[0.0, -1.0]])), "seconds must each be at least 0"),
        (lambda: Trace(np.array([[math.nan]])), "seconds must each be at least 0"),
    ],
)
def test_a_model_refuses_parameters_out_of_range(make, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_slow_worker_may_not_respond_at_all() -> None:
    table = np.array([DelayStream(Bimodal(0.5, 0.0, math.inf), 50).next_round() for _ in range(3)])
    assert set(np.unique(table)) == {0.0, math.inf}


def test_a_mean_beyond_the_largest_number_is_never_and_not_nan() -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = DelayStream(NormalPerOperation(1e300, 1e300), 20).next_round(1e18)
    np.testing.assert_array_equal(drawn, np.inf)


WEIRD = st.one_of(st.floats(), st.integers(-3, 3), st.integers(), st.booleans(), st.none(), st.text(max_size=2))


@settings(max_examples=300)
@given(st.sampled_from(sorted(set(MODELS) - {"none"})), st.data())
def test_a_model_is_refused_or_draws_times(name: str, data: st.DataObject) -> None:
    model = MODELS[name]
    values = [data.draw(st.one_of(st.floats(0.0, 1.0), WEIRD)) for _ in dataclasses.fields(model)]
    try:
        stream = DelayStream(model(*values), 9)
    except UsageError:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = [stream.disturb(1e6) for _ in range(3)]
    late, slow = (np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness"))
    assert late.shape == slow.shape == (3, 9)
    assert (late >= 0).all()  # and no NaN
    assert (np.isfinite(slow) & (slow > 0)).all()


# each parameter of each model: how it is written, and the number that must arrive under its name
PARAMETERS = {
    "none": {},
    "exp": {"mean": ("20ms", 0.02), "shift": ("5ms", 0.005)},
    "shifted-exp": {"mean": ("20ms", 0.02), "shift": ("5ms", 0.005)},
    "uniform": {"low": ("3us", 3e-6), "high": ("4s", 4.0)},
    "pareto": {"scale": ("2min", 120.0), "alpha": ("1.5", 1.5)},
    "normal-ops": {"mu": ("7us", 7e-6), "sigma": ("6us", 6e-6)},
    "bimodal": {"p": ("0.25", 0.25), "fast": ("5ms", 0.005), "slow": ("1s", 1.0)},
    "markov": {"fast": ("5ms", 0.005), "slow": ("1s", 1.0), "enter": ("0.1", 0.1), "leave": ("0.3", 0.3)},
    "slow": {"n": ("3", 3), "delay": ("30s", 30.0)},
    "dead": {"n": ("3", 3)},
    "lognormal": {"median": ("20ms", 0.02), "sigma": ("0.5", 0.5)},
    "slowdown": {"p": ("0.15", 0.15), "factor": ("5", 5.0)},
    "slowdown-always": {"n": ("3", 3), "factor": ("0.5", 0.5)},
    "slowdown-lognormal": {"sigma": ("0.25", 0.25)},
    "slowdown-markov": {"factor": ("5", 5.0), "enter": ("0.1", 0.1), "leave": ("0.3", 0.3)},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_of_the_table_is_read_into_the_field_of_its_name(name: str) -> None:
    written = PARAMETERS[name]
    model = parse_delays(f"{name}:" + ",".join(f"{key}={text}" for key, (text, _) in written.items()))
    assert type(model) is MODELS[name]
    assert vars(model) == pytest.approx({key: number for key, (_, number) in written.items()}, rel=1e-15)


def test_the_table_of_models_is_the_whole_one() -> None:
    assert {name for name, model in MODELS.items() if model.__module__.startswith("coded_als.")} == PARAMETERS.keys()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_traces_are_replayed_and_start_over(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "worker,round,seconds\n0,0,0.5\n1,0,1\n0,1,2\n")
    table = draws(f"trace:{path}", workers=3, rounds=3)
    np.testing.assert_array_equal(table, [[0.5, 1, 0.5], [2, np.inf, 2], [0.5, 1, 0.5]])


def trace(path: Path, rows: list[tuple[int, int, float, int]]) -> Path:
    body = "".join(f"{worker},{index},{seconds},{censored}\n" for worker, index, seconds, censored in rows)
    return write(path, "worker,round,seconds,censored\n" + body)


def test_censored_times_become_finished_ones_that_are_longer(tmp_path: Path) -> None:
    path = trace(
        tmp_path / "t.csv", [(0, 0, 1, 0), (1, 0, 2, 1), (0, 1, 3, 0), (1, 1, 5, 0), (2, 0, 6, 1), (2, 1, 1, 0)]
    )
    found = read_trace(path)
    np.testing.assert_array_equal(found, read_trace(path))
    assert found[0, 0] == 1.0
    assert found[0, 1] in (3.0, 5.0)
    assert found[0, 2] == 6.0  # none is longer


def test_broken_off_delays_come_again_by_the_law_that_they_were_drawn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exponential delays, watched for a while each: the law comes back, by Kolmogorov and Smirnov."""
    monkeypatch.setattr("coded_als.delays.traces.CLEAR", 1.0)  # here breaking off has nothing to do with the delays
    rng = np.random.default_rng(3)
    delays, watched = rng.exponential(1.0, (400, 10)), rng.uniform(0.0, 6.0, (400, 10))
    rows = [
        (
            worker,
            index,
            min(delays[index, worker], watched[index, worker]),
            int(delays[index, worker] > watched[index, worker]),
        )
        for index in range(400)
        for worker in range(10)
    ]
    found = read_trace(trace(tmp_path / "t.csv", rows))
    finished = np.array([seconds for _, _, seconds, censored in rows if not censored])
    assert stats.kstest(found.ravel(), stats.expon.cdf).statistic < 0.03
    assert stats.kstest(finished, stats.expon.cdf).statistic > 0.05


def test_survival_is_that_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.delays.traces.CLEAR", 1.0)
    rng = np.random.default_rng(5)
    delays, watched = rng.integers(1, 9, 200), rng.integers(1, 12, 200)
    seconds, finished = np.minimum(delays, watched).astype(float), delays <= watched
    ours = Survival.of(seconds, finished)
    theirs = stats.ecdf(stats.CensoredData(seconds[finished], right=seconds[~finished])).sf
    np.testing.assert_allclose(ours.shares, theirs.evaluate(ours.times), atol=1e-12)


def test_a_task_that_was_never_sent_is_no_death(tmp_path: Path) -> None:
    """Not with a row of its own, and not without one where the worker goes on; who is silent from some round on is dead."""
    rows = [
        (worker, index, 0.5 + worker, 0) for worker in range(3) for index in range(8) if (worker, index) not in {(1, 3)}
    ]
    rows = [row for row in rows if not (row[0] == 2 and row[1] >= 6)]
    found = read_trace(trace(tmp_path / "t.csv", [*rows, (0, 8, 0.0, 1), (1, 8, 0.0, 1)]))
    assert found[3, 1] == 1.5
    np.testing.assert_array_equal(found[8], [0.5, 1.5, np.inf])
    assert np.isinf(found[6:, 2]).all()
    assert np.isfinite(found[:6]).all()


def test_tasks_that_were_never_sent_are_as_late_as_the_others_of_their_worker(tmp_path: Path) -> None:
    """Worker 1 was quick once, and broken off after 2 s whenever it was sent a task again; a third were not sent."""
    rows = [(0, index, 0.1, 0) for index in range(60)] + [(1, 0, 0.1, 0)]
    rows += [(1, index, 2.0 if index % 3 else 0.0, 1) for index in range(1, 60)]
    unsent = read_trace(trace(tmp_path / "t.csv", rows))[3::3, 1]
    assert (unsent == 2.0).mean() > 0.85


@pytest.mark.parametrize(("silent_for", "is_dead"), [(3, True), (8, False)])
def test_who_is_never_heard_of_is_dead_unless_others_are_silent_as_long(
    tmp_path: Path, silent_for: int, is_dead: bool
) -> None:
    rows = [(0, index, 1.0, 0) for index in range(12)]
    rows += [(1, index, 1.0, int(index < silent_for)) for index in range(12)]
    rows += [(2, index, 0.5, 1) for index in range(12)]
    assert np.isinf(read_trace(trace(tmp_path / "t.csv", rows))[:, 2]).all() == is_dead


def test_what_ends_just_above_the_end_of_a_round_says_nothing_of_the_tasks_that_were_broken_off_there(
    tmp_path: Path,
) -> None:
    """Rounds end at 5 or 5.5 ms when the fast have responded; the slow take 1 s, as the first round shows."""
    rows = [(worker, 0, 1.0 if worker == 3 else 0.005, 0) for worker in range(4)]
    for index in range(1, 41):
        end_s = 0.005 + 0.0005 * (index % 2)
        rows += [(worker, index, end_s, int(worker == index % 4)) for worker in range(4)]
    found = read_trace(trace(tmp_path / "t.csv", rows))
    assert all(found[index, index % 4] == 1.0 for index in range(1, 41))


def test_what_took_longer_than_any_that_was_finished_is_known_to_be_unseen(tmp_path: Path) -> None:
    rows = [(worker, index, 1.0, 0) for worker in range(9) for index in range(5)]
    rows += [(9, index, *((2.0, 1) if index else (1.0, 0))) for index in range(5)]
    found = read_recording(trace(tmp_path / "t.csv", rows))
    assert found.unseen == pytest.approx(4 / 50)
    assert read_recording(trace(tmp_path / "u.csv", rows[:-4])).unseen == 0.0


def test_a_trace_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="regular file"):
            read_trace(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker,round\n0,0\n", "lacks seconds"),
        ("", "lacks"),
        ("worker,round,seconds\n", "at least one row"),
        ("worker,round,seconds\n0,0,-1\n", "line 2"),
        ("worker,round,seconds\n0,0,nan\n", "line 2"),
        ("worker,round,seconds\n0,0\n", "line 2"),
        ("worker,round,seconds\n0,-1,1\n", "line 2"),
        ("worker,round,seconds\na,0,1\n", "line 2"),
        ("worker,round,seconds\n0,0,1\n0,0,2\n", "line 3 repeats"),
        ("worker,round,seconds,censored\n0,0,1,x\n", "line 2"),
    ],
)
def test_bad_traces_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_trace(write(tmp_path / "t.csv", text))
    assert "\n" not in str(caught.value)


def test_a_round_by_number_and_in_an_array_has_the_same_numbers() -> None:
    ids = np.arange(40_000, dtype=np.uint64)
    for seed, round_index, draw in ((0, 0, 0), (2**63, 7, 2**32 - 1), (5, 10**6, 16)):
        rounds = np.full(ids.shape, round_index, dtype=np.uint64)
        alone, beside = (hashed_uniforms(seed, one, draw, ids) for one in (round_index, rounds))
        assert (alone == beside).all()
    grid = ids.reshape(200, 200)
    assert (hashed_uniforms(1, 2, 3, grid) == hashed_uniforms(1, 2, 3, ids).reshape(200, 200)).all()
