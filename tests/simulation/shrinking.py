"""The smallest scenario that still breaks a law as a failing one does: fewer faults, fewer events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.baton import Violation
from tests.simulation.play import play
from tests.simulation.scenario import Scenario

# Runs that a shrinking may take.
MOST_RUNS = 300


def law_of(violation: Violation) -> str:
    """The law, without the facts of the run."""
    return str(violation).partition(";")[0]


def violation_of(scenario: Scenario) -> Violation | None:
    """How a scenario breaks a law, if it does."""
    try:
        play(scenario)
    except Violation as violation:
        return violation
    return None


def shrunk(scenario: Scenario, violation_of: Callable[[Scenario], Violation | None] = violation_of) -> Scenario:
    """The smallest scenario that was found to break the same law; itself where none was."""
    first = violation_of(scenario)
    if first is None:
        return scenario
    runs, law, found = 0, law_of(first), True
    while found and runs < MOST_RUNS:
        found = False
        for smaller in _smaller(scenario):
            runs += 1
            other = violation_of(smaller)
            if other is not None and law_of(other) == law:
                scenario, found = smaller, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios with less in them, the much smaller ones first."""
    faults = scenario.faults
    half = len(faults) // 2
    kept = [faults[:half], faults[half:]] if half else []
    kept += [faults[:place] + faults[place + 1 :] for place in range(len(faults))]
    yield from (replace(scenario, faults=some) for some in kept)
    if scenario.acts:
        yield replace(scenario, acts=scenario.acts[1:])
        yield replace(scenario, acts=scenario.acts[:-1])
    plain = {"in_order": True, "delays": "none", "cancels": False, "parts": False, "return_within_s": 20.0}
    for name, value in plain.items():
        if getattr(scenario, name) != value:
            yield replace(scenario, **{name: value})
    iterations = scenario.case.parameters["iterations"]
    if iterations > 1:
        fewer = {**scenario.case.parameters, "iterations": iterations - 1}
        yield replace(scenario, case=replace(scenario.case, parameters=fewer))
    for place, fault in enumerate(faults):
        rounded = tuple(1e-3 if second < 1e-2 else round(second, 1) or 0.01 for second in fault.seconds)
        if rounded != fault.seconds:
            yield replace(scenario, faults=(*faults[:place], replace(fault, seconds=rounded), *faults[place + 1 :]))
