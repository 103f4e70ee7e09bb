"""The real master and workers under the faults of some hundred seeds; and the simulation itself replays, shrinks and finds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants.mutant import Mutant
from tests.simulation.baton import MOST_SWITCHES, Baton, Violation
from tests.simulation.mistakes import MISTAKES, REPOSITORY
from tests.simulation.play import play
from tests.simulation.scenario import KINDS, Scenario, drawn
from tests.simulation.shrinking import shrunk, violation_of

# the first seeds in every run of the suite, the others with the slow tests
SEEDS, ALWAYS, AT_ONCE = 300, 100, 50


@pytest.mark.parametrize(
    "first",
    [*range(0, ALWAYS, AT_ONCE), *(pytest.param(one, marks=pytest.mark.slow) for one in range(ALWAYS, SEEDS, AT_ONCE))],
)
def test_no_fault_breaks_a_law(first: int) -> None:
    broken = {seed: violation_of(drawn(seed)) for seed in range(first, first + AT_ONCE)}
    assert not {seed: str(violation) for seed, violation in broken.items() if violation is not None}


def test_every_kind_of_fault_befalls_some_fit() -> None:
    befell: set[str] = set()
    for scenario in map(drawn, range(200)):
        if {fault.kind for fault in scenario.faults} - befell:
            befell |= {fault.kind for fault in play(scenario).befell}
    assert befell == set(KINDS)


@pytest.mark.parametrize("seed", [0, 1, 8])
def test_a_seed_replays_exactly(seed: int) -> None:
    first, again = (play(drawn(seed)).baton.trace for _ in range(2))
    assert len(first) > 100
    assert first == again


def test_another_seed_has_another_course() -> None:
    assert len({play(drawn(seed)).baton.switches for seed in range(3)}) == 3


def test_what_does_not_matter_is_shrunk_away() -> None:
    """A law that the crash of worker 1 breaks, in place of a run."""

    def breaks(scenario: Scenario) -> Violation | None:
        crashes = [fault for fault in scenario.faults if fault.kind == "crash" and fault.worker == 1]
        return Violation("no crash; of worker 1") if crashes else None

    scenario = next(drawn(seed) for seed in range(1000) if len(drawn(seed).faults) > 5 and breaks(drawn(seed)))
    smallest = shrunk(scenario, breaks)
    assert [(fault.kind, fault.worker) for fault in smallest.faults] == [("crash", 1)]
    assert smallest.acts == ()
    assert smallest.in_order
    assert shrunk(drawn(0), lambda scenario: None) == drawn(0)


def test_threads_that_wait_for_each_other_are_told_of() -> None:
    baton = Baton(0)
    with pytest.raises(Violation, match="all wait for each other"):
        baton.wait(float("inf"), listens=True)


def test_a_loop_without_an_end_is_told_of() -> None:
    baton = Baton(0)
    baton.switches = MOST_SWITCHES
    with pytest.raises(Violation, match="goes on and on"):
        baton.wait(1e-6)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_can_be_planted(mistake: Mutant) -> None:
    assert mistake.planted(REPOSITORY) != (REPOSITORY / mistake.file).read_text()


def found(word: str) -> str:
    """The answer of the command that plants mistakes."""
    command = [sys.executable, "-m", "tests.simulation", "--mistakes", word]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout


def test_a_late_word_of_an_earlier_load_that_ends_a_fit_is_found() -> None:
    assert "0 of 1 mistakes are not found" in found("a part of an earlier fit is gone")


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_planted_mistake_is_found_within_a_thousand_seeds(mistake: Mutant) -> None:
    assert "0 of 1 mistakes are not found" in found(mistake.name)
