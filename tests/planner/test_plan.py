"""Plans: when coding pays, when it does not, what is left out, and what is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from coded_als.arrays import Array
from coded_als.cli.plan import command
from coded_als.cluster.machine import Machine
from coded_als.delays import parse_delays
from coded_als.errors import UsageError
from coded_als.experiments.plan_report import fit_command, plan_document, plan_text
from coded_als.planner.choice import Candidate, Duel, Plan, Race, make_plan, schemes, with_best_block
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import SOLVERS, typical_iterations
from coded_als.planner.statistics import Sampling, mean_and_interval
from coded_als.planner.timing import Draws, Infeasible, Workload, iteration_seconds

FAST = Machine(1e12, 1e12, 1e-6, 0.0)


def workload(delays: str, machine: Machine = FAST) -> Workload:
    return Workload(Size(400, 300, 10), delays, machine, None, typical_iterations())


def draws(delays: str, workers: int, repeats: int) -> Draws:
    return Draws(parse_delays(delays), workers, 0, repeats)


def plan(delays: str, workers: int = 12, **options: float) -> Plan:
    return make_plan(workers, workload(delays), repeats=400, **options)  # type: ignore[arg-type]


def test_coding_pays_where_many_are_slow_at_random() -> None:
    found = plan("bimodal:p=0.4,fast=1ms,slow=1s", workers=20, memory_bytes=1e5)  # a seventh of D on each worker
    assert found.verdict == "coding pays"
    assert found.recommended.scheme.family.coded
    assert found.overall.speedup is not None
    assert found.overall.speedup.value > 2


def test_coding_does_not_pay_without_stragglers() -> None:
    found = make_plan(12, workload("none", Machine()), repeats=400)
    assert found.verdict == "coding does not pay"
    assert not found.recommended.scheme.family.coded
    assert "Coding does not pay on 12 workers" in plan_text(found, 12, workload("none"))


@pytest.mark.parametrize("delays", ["none", "exp:mean=20ms", "bimodal:p=0.2,fast=0ms,slow=200ms"])
def test_the_verdict_is_between_codes_at_their_best_widths(delays: str) -> None:
    """Else the table can show a rival as slower that the verdict calls faster."""
    found = plan(delays)
    for one in (found.overall.plain, found.overall.coded):
        assert one is not None
        assert one.scheme == with_best_block(replace(one.scheme, block=None), workload(delays))
        assert one.scheme in {candidate.scheme for candidate in found.candidates}
    assert found.recommended is found.overall.faster


def test_the_best_is_the_fastest_and_all_met_the_same_delays() -> None:
    found = plan("exp:mean=20ms")
    means = [candidate.mean_s for candidate in found.candidates]
    assert means == sorted(means)
    again = plan("exp:mean=20ms")
    for first, second in zip(found.candidates, again.candidates, strict=True):
        np.testing.assert_array_equal(first.totals_s, second.totals_s)


def test_real_points_past_their_digits_are_left_out_with_the_reason() -> None:
    found = make_plan(29, workload("exp:mean=20ms"), repeats=40)
    reasons = dict(found.excluded)
    assert "decoding must be accurate" in reasons["entangled:h=5,points=real, fused, lobpcg"]
    assert not any(c.scheme.code.startswith("entangled:h=5,points=real") for c in found.candidates)
    assert any(c.scheme.code.startswith("entangled:h=4,points=real") for c in found.candidates)
    assert "entangled:h=5,points=real: decoding must be accurate" in plan_text(
        found, 29, workload("exp:mean=20ms"), details=True
    )


def test_a_scheme_that_does_not_fit_in_memory_is_left_out() -> None:
    whole = plan("exp:mean=20ms")
    limit = max(candidate.worker_bytes for candidate in whole.candidates) - 1
    small = plan("exp:mean=20ms", memory_bytes=limit)
    assert all(candidate.worker_bytes <= limit for candidate in small.candidates)
    assert any("a worker would hold" in reason for _, reason in small.excluded)
    with pytest.raises(UsageError, match="no code can run on"):
        plan("exp:mean=20ms", memory_bytes=1.0)


def test_dead_workers_leave_no_choice_but_redundancy() -> None:
    found = plan("exp:mean=1ms+dead:n=1")
    assert all(candidate.scheme.code != "uncoded" for candidate in found.candidates)


LARGE = Workload(Size(40_000, 20_000, 20), "exp:mean=20ms", Machine())


def test_the_default_is_compared_with_the_best_and_with_the_best_in_its_memory() -> None:
    found = make_plan(8, LARGE, repeats=400)
    assert found.default is not None
    choice, default = found.default
    assert (choice.code.spec, choice.pieces) == ("systematic:p=4", 8)
    assert found.in_default_memory is not None
    assert found.in_default_memory.worker_bytes <= default.worker_bytes
    assert found.recommended.mean_s <= found.in_default_memory.mean_s <= default.mean_s
    document = plan_document(found, 8, LARGE)
    assert document["default"]["code"] == "systematic:p=4"
    assert document["default"]["reason"] == choice.reason
    assert document["fastest_in_the_memory_of_the_default"]["code"] == found.in_default_memory.scheme.code
    assert "Without --code, fit takes systematic:p=4: " in plan_text(found, 8, LARGE)


def test_the_plan_says_where_copies_of_everything_are_faster() -> None:
    delays = workload("bimodal:p=0.4,fast=1ms,slow=1s")
    found = make_plan(12, delays, repeats=400)
    assert found.recommended.scheme.code == "replicated:copies=12"
    text = " ".join(plan_text(found, 12, delays).split())
    assert "All of D on each worker (replicated:copies=12) has to be requested." in text
    assert "In its memory the fastest is " in text


def test_memory_that_holds_no_share_leaves_no_default() -> None:
    assert plan("exp:mean=20ms", memory_bytes=8 * 300 * 25).default is not None
    with pytest.raises(UsageError, match="no code can run on 12 workers"):
        plan("exp:mean=20ms", memory_bytes=1.0)


def test_longer_runs_take_proportionally_longer() -> None:
    base = workload("exp:mean=20ms")
    long = replace(base, iterations={solver: 2 * count for solver, count in typical_iterations().items()})
    short_s, long_s = (make_plan(6, w, repeats=400).candidates for w in (base, long))
    by_label = {c.scheme.label: c for c in long_s}
    for candidate in short_s:
        other = by_label[candidate.scheme.label]
        ratio = (other.mean_s - other.startup_s) / (candidate.mean_s - candidate.startup_s)
        assert 1.7 < ratio < 2.3


def test_at_many_workers_the_answers_waited_for_are_sampled() -> None:
    scheme = Scheme("entangled:h=6", 40, solver="lobpcg")
    exact, sampled = (
        iteration_seconds(scheme, workload("exp:mean=1s"), draws("exp:mean=1s", 40, 20), exact=exact)
        for exact in (True, False)
    )
    assert sampled.mean() == pytest.approx(exact.mean(), rel=0.1)
    with pytest.raises(Infeasible, match="decoding must be accurate"):
        iteration_seconds(Scheme("entangled:h=6,points=real", 60), workload("none"), draws("none", 60, 2), exact=False)


ARGUMENTS = ["--workers", "8", "--rows", "60", "--cols", "40", "--rank", "4", "--repeats", "400"]


def test_json_is_one_document(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("worker,round,seconds\n" + "".join(f"{w},0,{0.01 * (w + 1)}\n" for w in range(8)))
    result = CliRunner().invoke(command, [*ARGUMENTS, "--delays", str(trace), "--json"], catch_exceptions=False)
    document = json.loads(result.stdout)
    assert document["delays"] == f"trace:{trace}"
    assert document["recommended"]["virtual_seconds_mean"] > 0
    assert {"verdict", "candidates", "excluded", "assumptions", "speedup_of_the_best_code"} <= document.keys()


def test_text_says_verdict_recommendation_and_assumptions() -> None:
    result = CliRunner().invoke(command, [*ARGUMENTS, "--delays", "exp:mean=20ms", "--details"], catch_exceptions=False)
    assert "on 8 workers" in result.stdout
    assert "Use " in result.stdout
    assert "Without --code, fit takes " in result.stdout
    assert "Assumed:" in result.stdout


def test_the_short_plan_is_verdict_command_and_five_candidates_in_80_columns() -> None:
    result = CliRunner().invoke(command, [*ARGUMENTS, "--delays", "exp:mean=20ms"], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    verdict, use, table, note = result.stdout.split("\n\n")
    assert "on 8 workers" in verdict
    assert use.startswith("Use ")
    assert "coded-als fit RATINGS --workers 8" in use
    assert len(table.splitlines()) == 2 + 5
    codes = [line.split()[0].rstrip(",") for line in table.splitlines()[2:]]
    assert len(set(codes)) == 5
    assert use.split()[1].startswith(codes[0])  # the recommended one comes first
    assert note.startswith("--details")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--delays", "exp"], "needs mean"),
        (["--delays", "none", "--memory-per-worker", "lots"], "like 500MB"),
        (["--delays", "none", "--rank", "50"], "rank must be at most"),
    ],
)
def test_bad_options_are_refused(options: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(command, [*ARGUMENTS, *options], catch_exceptions=False)


def test_intervals_of_heavy_tails_stay_above_zero_and_ratios_are_of_pairs() -> None:
    totals = np.array([1.0, 1.1, 1.2, 900.0])
    mean, low, high = mean_and_interval(totals)
    assert (mean, low) == (totals.mean(), 1.0)
    assert high is not None
    assert high > mean
    assert mean_and_interval(np.full(5, 3.0)) == (3.0, None, None)
    ratio = Sampling.plain(4).ratio(2 * totals, totals)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_plan_for_sparse_data_stays_sparse_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Workload(Size(100_000, 50_000, 20, 5_000_000), "bimodal:p=0.1,fast=5ms,slow=1s", Machine())
    monkeypatch.setattr("coded_als.planner.choice.holds_gram", lambda length: False)
    found = make_plan(6, large, repeats=400)
    assert all(candidate.scheme.rows for candidate in found.candidates)
    assert found.recommended.scheme.family.name == "replicated"
    assert "--precomputation none" in fit_command(found.recommended, large)
    assert "sparse rows are spread evenly" in plan_text(found, 6, large, details=True)
    # many users and few items
    monkeypatch.undo()
    tall = Workload(Size(2_000_000, 300, 20, 5_000_000), "exp:mean=5ms", Machine())
    assert not make_plan(6, tall, repeats=400).recommended.scheme.rows


BURSTS = "markov:fast=2ms,slow=1s,enter=0.02,leave=0.1"
BURSTS_SLOW_SHARE = 0.02 / 0.12


def expected_s(code: str, needed: int, delays: Workload, slow_share: float, workers: int = 10) -> float:
    """The mean of a fit that waits for so many of W workers, which are slow by chance: added up over how many are."""
    scheme = Scheme(code, workers, solver="lobpcg")
    ((cost, _),) = delays.schedule(scheme)
    seconds = 0.0
    for slow in range(workers + 1):
        late = np.repeat([0.002, 1.0], [workers - slow, slow])
        ends_s = np.sort(cost.response_s(late, delays.machine))[needed - 1]
        seconds += stats.binom.pmf(slow, workers, slow_share) * ends_s
    return float(delays.iterations["lobpcg"] * (seconds + delays.master_s(scheme)) + delays.startup_s(scheme))


@pytest.mark.parametrize(("code", "needed"), [("uncoded", 10), ("systematic:p=6", 6)])
def test_intervals_under_bursts_hold_the_mean(code: str, needed: int) -> None:
    """Bursts of ten rounds: of twenty runs, some meet one and others do not, and none meets what is rare."""
    delays = workload(BURSTS)
    mean = expected_s(code, needed, delays, BURSTS_SLOW_SHARE)
    held = 0
    for seed in range(12):
        found = Race(delays, [Scheme(code, 10, solver="lobpcg")], seed=seed).fastest()
        assert found is not None
        assert found.estimate.low is not None
        assert found.estimate.high is not None
        held += found.estimate.low <= mean <= found.estimate.high
    assert held >= 11


def candidate(scheme: str, totals: Array) -> Candidate:
    return Candidate(Scheme(scheme, 8), totals, Sampling.plain(len(totals)), 0.0, 0.0, 1, 1.0)


@pytest.mark.parametrize(
    ("ratio", "spread", "unseen", "verdict"),
    [
        (2.0, 0.1, 0.0, "coding pays"),
        (1.3, 3.0, 0.0, "cannot tell yet"),
        (0.9, 3.0, 0.0, "cannot tell yet"),
        (0.9, 0.1, 0.0, "coding does not pay"),
        (0.9, 0.1, 0.1, "cannot tell yet"),
        (2.0, 0.1, 0.1, "coding pays"),
    ],
)
def test_the_whole_interval_decides_and_not_the_mean(ratio: float, spread: float, unseen: float, verdict: str) -> None:
    noise = spread * np.random.default_rng(0).normal(size=64)
    plain = candidate("uncoded", ratio + noise - noise.mean())
    duel = Duel(1.0, plain, candidate("systematic:p=6", np.ones(64)), unseen)
    assert duel.speedup is not None
    assert duel.speedup.value == pytest.approx(ratio)
    assert duel.verdict == verdict
    assert (duel.draws_needed is not None) == (verdict == "cannot tell yet" and not unseen)


def nearly_pays(most_draws: int) -> Duel:
    delays = Workload(Size(20000, 3000, 50), "exp:mean=90ms", Machine())
    race = Race(delays, schemes(8, ("lobpcg",)), memory_bytes=20e6, most_draws=most_draws)
    return race.duel(race.accurate)


def test_what_is_found_the_best_is_drawn_anew_where_that_does_not_tell() -> None:
    few, many = nearly_pays(400), nearly_pays(10**5)
    assert few.verdict == "cannot tell yet"
    assert many.verdict != "cannot tell yet"
    assert few.coded is not None
    assert many.coded is not None
    assert few.draws_needed is not None
    assert len(few.coded.sampling) == 400 < len(many.coded.sampling)
    # four times as many each time, at most a step beyond what was said
    assert len(many.coded.sampling) <= 16 * few.draws_needed


def cannot_tell(*options: str) -> Result:
    """A plan of few draws at a size and memory at which coding nearly pays."""
    size = ["--workers", "8", "--rows", "20000", "--cols", "3000", "--rank", "50", "--repeats", "400"]
    # one solver alone is in the race: the others need far more iterations
    others = [word for name in SOLVERS if name != "lobpcg" for word in (f"--{name}-iterations", "1000")]
    arguments = [*size, *others, "--memory-per-worker", "20MB", *options]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_cannot_tell_yet_is_said_with_what_would_tell() -> None:
    delays = "exp:mean=90ms"
    result = cannot_tell("--delays", delays)
    assert result.exit_code == 0
    assert result.stdout.startswith("Cannot tell yet on 8 workers: ")
    found = re.search(r"It took 400 draws; about (\d+) would tell: --repeats (\d+)\.", result.stdout)
    assert found is not None
    assert found[1] == found[2]
    document = json.loads(cannot_tell("--delays", delays, "--json").stdout)
    assert document["verdict"] == "cannot tell yet"
    assert document["draws_needed"] == int(found[1]) > document["draws"] == 400


def test_a_short_recording_cannot_tell_and_more_draws_would_not_help(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    late = np.random.default_rng(1).exponential(0.15, (24, 8))
    rows = [f"{worker},{index},{late[index, worker]},0" for index in range(24) for worker in range(8)]
    trace.write_text("\n".join(["worker,round,seconds,censored", *rows]) + "\n")
    text = cannot_tell("--delays", str(trace)).stdout
    assert "The recording has 24 rounds" in text
    assert "--repeats" not in text
    assert json.loads(cannot_tell("--delays", str(trace), "--json").stdout)["rounds_recorded"] == 24


def test_a_recording_that_breaks_off_what_is_slow_cannot_say_that_coding_does_not_pay(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"{w},{i},0.001,{int(w == i % 8)}" for i in range(60) for w in range(8)]
    trace.write_text("\n".join(["worker,round,seconds,censored", *rows]) + "\n")
    text = cannot_tell("--delays", str(trace)).stdout
    assert text.startswith("Cannot tell yet")
    assert "12 % of the recorded tasks were broken off later than any that was finished" in text
    document = json.loads(cannot_tell("--delays", str(trace), "--json").stdout)
    assert document["draws_needed"] is None
    assert document["unseen_share"] == pytest.approx(0.125)
