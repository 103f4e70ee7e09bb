"""A plan from the recording of a cluster finds what a plan from the law of its delays finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from coded_als.cluster import Fastest, Round, StoppingRule, TaskEvent, all_of
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import TraceRecorder
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.planner.choice import Duel, Race, schemes
from coded_als.planner.schemes import Size
from coded_als.planner.timing import Workload

WORKERS, SEEDS, ROUNDS = 8, 4, 200
SIZE = Size(20000, 3000, 50)
PAYS = ["bimodal:p=0.1,fast=5ms,slow=500ms", "exp:mean=20ms+dead:n=2", "slow:n=2,delay=1s"]
DOES_NOT_PAY = ["none", "exp:mean=20ms"]


class Unsent(TraceRecorder):
    """Loses every third task that nobody waited for, as if the worker had had no credit."""

    def __call__(self, event: TaskEvent) -> None:
        if event.status in ("late", "superseded") and (event.worker + event.round_index) % 3 == 0:
            event = replace(event, status="unsent", sent_s=None, received_s=None)
        super().__call__(event)


def record(delays: str, rule: StoppingRule, seed: int, path: Path, rounds: int) -> None:
    """Record a run with this rule, with some tasks unsent."""
    recorder = Unsent()
    with SimulatedCluster(WORKERS, delays, seed) as cluster:
        cluster.observers.append(recorder)
        one = np.ones((1, 1, 1))
        cluster.store("left", [one] * WORKERS)
        round = Round("product", ("left",), [(one,)] * WORKERS, (), ((1, 1, 1),), operations=1e6)
        for _ in range(rounds):
            cluster.run(round, rule)
    recorder.save(path)


def duel(delays: str) -> Duel:
    race = Race(Workload(SIZE, delays, Machine()), schemes(WORKERS, ("lobpcg",)))
    return race.duel(race.accurate)


OwnDuel = Callable[[str], Duel]
RecordedDuel = Callable[..., Duel]


@pytest.fixture(scope="module")
def own_duel() -> OwnDuel:
    """The duel under the law of the delays; once for each, since three tests ask."""
    return cache(duel)


@pytest.fixture(scope="module")
def recorded_duel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedDuel]:
    """The duel under a recording of ``rounds`` rounds that wait for so many workers; once for each."""
    folder = tmp_path_factory.mktemp("recordings")

    @cache
    def found(delays: str, waited_for: int, seed: int, rounds: int = ROUNDS) -> Duel:
        rule = all_of(WORKERS) if waited_for == WORKERS else Fastest(waited_for)
        path = folder / f"{len(list(folder.iterdir()))}.csv"
        record(delays, rule, seed, path, rounds)
        return duel(f"trace:{path}")

    return found


def everybody(delays: str) -> int:
    """The number of workers that are alive."""
    return 6 if "dead" in delays else WORKERS


def verdicts(delays: str, waited_for: int, recorded_duel: RecordedDuel) -> Counter[str]:
    return Counter(recorded_duel(delays, waited_for, seed).verdict for seed in range(SEEDS))


@pytest.mark.parametrize("delays", [*PAYS, *DOES_NOT_PAY])
def test_a_run_that_waits_for_all_who_live_tells_its_own_verdict(
    delays: str, own_duel: OwnDuel, recorded_duel: RecordedDuel
) -> None:
    own = own_duel(delays).verdict
    assert own == ("coding pays" if delays in PAYS else "coding does not pay")
    assert verdicts(delays, everybody(delays), recorded_duel) == {own: SEEDS}


@pytest.mark.parametrize("waited_for", [6, 4])
@pytest.mark.parametrize("delays", [*PAYS, *DOES_NOT_PAY])
def test_a_coded_run_never_tells_the_contrary(delays: str, waited_for: int, recorded_duel: RecordedDuel) -> None:
    """It has not seen all that a scheme without a code would wait for, and says so rather than guess."""
    own = "coding pays" if delays in PAYS else "coding does not pay"
    found = verdicts(delays, waited_for, recorded_duel)
    assert set(found) <= {own, "cannot tell yet"}
    if delays in (*PAYS[1:], "none"):
        assert found == {own: SEEDS}


@pytest.mark.parametrize("waited_for", [WORKERS, 6, 4])
@pytest.mark.parametrize("delays", [*PAYS, *DOES_NOT_PAY])
def test_the_advice_of_a_plan_leads_from_any_recording_to_the_verdict_of_the_law(
    delays: str, waited_for: int, own_duel: OwnDuel, recorded_duel: RecordedDuel
) -> None:
    """Thirty recordings. Those that cannot tell are made again as the plan says: longer, or waiting for all."""
    for seed in range(2):
        waits, rounds = min(waited_for, everybody(delays)), ROUNDS
        for _ in range(3):
            found = recorded_duel(delays, waits, seed, rounds)
            if found.verdict != "cannot tell yet":
                break
            waits, rounds = everybody(delays) if found.is_blind else waits, found.draws_needed or rounds
        assert found.verdict == own_duel(delays).verdict
