"""Rounds that settle for the best there is, workers that refuse for ever, and dead ones: on simulated workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from coded_als.cluster import Fastest, Round, StoppingRule, WellConditioned
from coded_als.delays import Disturbance
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.wire import Refused
from tests.master.test_machine import TIMEOUT_S, WORKERS, MasterMachine, SimulatedWorker

ROUND = Round("product", ("share",), [(np.ones((1, 1, 1)),)] * WORKERS, response_shapes=((1, 1, 1),))


@pytest.fixture
def machine() -> Iterator[MasterMachine]:
    machine = MasterMachine()
    machine.everybody_joins_and_holds_a_share()
    yield machine
    machine.teardown()


def carried_out(machine: MasterMachine, until: StoppingRule, delays: Sequence[float] = (0.0,) * WORKERS) -> set[int]:
    return set(machine.rounds.carry_out(ROUND, until, TIMEOUT_S, Disturbance.late(delays)).results)


@dataclass(frozen=True)
class Estimates:
    """Two are enough; fewer than four decode badly, and without worker 0 not at all."""

    recovery_threshold: int = 2

    def error_estimate(self, workers: Sequence[int]) -> float:
        if 0 not in workers:
            return np.inf
        return 1e-15 if len(workers) == WORKERS else 10.0 ** -len(workers)


def test_a_round_waits_for_all_who_can_respond_and_then_settles(machine: MasterMachine) -> None:
    machine.scene.act("die", 3)
    machine.membership.catch_up()
    assert carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1)) == {0, 1, 2}
    with pytest.raises(DecodingError):
        carried_out(machine, WellConditioned(Estimates(), 1e-9))
    with pytest.raises(DecodingError):
        carried_out(machine, WellConditioned(Estimates(), 1e-9, 1e-4))


def test_a_round_does_not_settle_while_another_can_respond(machine: MasterMachine) -> None:
    assert carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1)) == {0, 1, 2, 3}


@pytest.mark.parametrize("finished", [(), (0,), (0, 1), (0, 1, 2)])
def test_a_round_settles_when_the_last_that_it_waits_for_dies(
    machine: MasterMachine, finished: tuple[int, ...]
) -> None:
    script = [(action, number) for number in finished for action in ("finish", "deliver")]
    machine.scene.script.extend([*script, ("die", 3)])
    assert carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1)) == {0, 1, 2}


def test_a_round_settles_for_fewer_when_another_dies_and_gives_up_where_none_decodes(machine: MasterMachine) -> None:
    machine.scene.script.extend([("die", 3), ("finish", 0), ("deliver", 0), ("die", 2)])
    assert carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1)) == {0, 1}
    machine.scene.script.extend([("die", 0)])
    with pytest.raises(NotEnoughWorkers):
        carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1))


class Forgetful(SimulatedWorker):
    """A worker that never holds what it is given."""

    asked = 0

    def finish(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self.asked += 1
            assert self.asked < 20, "asked for ever"
            self.says.append(Refused(*self._of(task)))


def test_a_worker_that_refuses_for_ever_is_given_up(machine: MasterMachine) -> None:
    worker: Any = machine.scene.workers[1]
    worker.__class__ = Forgetful
    with pytest.raises(NotEnoughWorkers):
        carried_out(machine, Fastest(WORKERS))
    assert worker.asked == 3
    assert carried_out(machine, Fastest(WORKERS - 1)) == {0, 2, 3}


def test_a_lost_worker_that_would_not_respond_is_not_waited_for(machine: MasterMachine) -> None:
    machine.rounds._return_within_s = 10.0
    machine.scene.act("die", 3)
    machine.membership.catch_up()
    started_s = machine.scene.now_s
    with pytest.raises(NotEnoughWorkers):
        carried_out(machine, Fastest(WORKERS), (0.0, 0.0, 0.0, np.inf))
    assert machine.scene.now_s < started_s + 1.0
    # one that would is
    with pytest.raises(NotEnoughWorkers):
        carried_out(machine, Fastest(WORKERS))
    assert machine.scene.now_s > started_s + 5.0


def test_a_round_hopes_before_it_settles(machine: MasterMachine) -> None:
    machine.rounds._return_within_s = 10.0
    machine.scene.act("die", 3)
    machine.membership.catch_up()
    machine.scene.script.extend([("stop", 3), ("join", 3), ("deliver", 3)])
    assert carried_out(machine, WellConditioned(Estimates(), 1e-9, 0.1)) == {0, 1, 2, 3}
