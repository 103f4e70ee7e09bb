"""A worker's part of a round goes from stage to stage, and never where it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.cluster import Round, all_of
from coded_als.errors import NotEnoughWorkers
from coded_als.master.membership import WorkerState
from coded_als.master.rounds import Payloads, RunningRound, Stage

ONE = (np.ones((1, 1, 1)),)
WORKERS = 3
STEPS = ("place", "die", "ask", "cancel", "lose", "drop", "take", "refused", "corrupt")


def running(**fields: Any) -> RunningRound:
    round = Round("product", ("stored",), response_shapes=((1, 1, 1),), **fields)
    stamps = (("stored", 7),)
    return RunningRound(
        round, all_of(WORKERS), 4, stamps, (), [0.0] * WORKERS, [1.0] * WORKERS, Payloads(round, None), 100
    )


def worker_of(number: int, held: bool, alive: bool = True) -> WorkerState:
    return WorkerState(number, b"", 1, 0.0, alive, held={"stored": 7 if held else 6})


def step(current: RunningRound, name: str, number: int, flag: bool) -> None:
    match name:
        case "place":
            current.place(worker_of(number, held=flag), is_given=not flag)
        case "die":
            current.place(worker_of(number, held=flag, alive=False), is_given=flag)
        case "ask":
            current.ask(number, 1.0)
        case "cancel":
            current.cancel(number)
        case "lose":
            current.lose(number)
        case "drop":
            current.drop(number)
        case "take":
            current.take(number, ONE)
        case "refused" | "corrupt":
            current.leave_out(number, name)  # type: ignore[arg-type]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, WORKERS - 1), st.booleans()), max_size=30))
def test_a_part_is_counted_once_or_left_out_once_and_then_stays(steps: list[tuple[str, int, bool]]) -> None:
    current = running()
    over: dict[int, Stage | None] = {}
    for name, number, flag in steps:
        before = current.stage(number)
        try:
            step(current, name, number, flag)
        except (RuntimeError, KeyError):
            assert current.stage(number) is before  # what is refused changes nothing
        if number in over:
            assert current.stage(number) is over[number]
        if current.is_over(number):
            over[number] = current.stage(number)
    settled = {task.worker for task, _ in current.unsettled()}
    for number in range(WORKERS):
        counted, out = number in current.results, number in current.left_out
        assert counted + out + (number in settled) <= 1
        assert not (counted or out) or current.is_over(number)
    assert current.done == (len(current.results) == WORKERS)


@pytest.mark.parametrize("end", ["drop", "take", "refused", "corrupt"])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "lose"])
def test_nothing_follows_the_end_of_a_part(end: str, name: str) -> None:
    current = running()
    for before in ("place", "ask", end, "lose"):  # that its worker is lost then is no news
        step(current, before, 0, True)
    reached = current.stage(0)
    assert current.is_over(0)
    with pytest.raises(RuntimeError, match="worker 0 must not go from"):
        step(current, name, 0, True)
    assert current.stage(0) is reached


def test_a_task_that_is_sent_again_is_another_attempt_and_one_that_was_not_sent_is_not() -> None:
    current, worker = running(), worker_of(0, held=True)
    current.place(worker, is_given=False)
    current.lose(0)
    current.place(worker, is_given=False)
    assert [current.ask(0, 1.0).attempt] == [100]
    current.lose(0)
    current.place(worker_of(0, held=False), is_given=True)
    current.lose(0)  # while it was being given what it lacked
    current.place(worker, is_given=False)
    assert current.message(b"", 0).attempt == 101
    assert current.ask(0, 2.0).attempt == 101


def test_only_a_ready_worker_is_asked() -> None:
    current = running()
    for place in ({"held": False}, {"held": True, "alive": False}):
        current.place(worker_of(0, **place), is_given=True)
        with pytest.raises(RuntimeError, match="worker 0 must not go from"):
            current.ask(0, 1.0)


def test_a_worker_that_is_excluded_takes_no_part() -> None:
    current = running(excluded=frozenset({1}))
    assert current.left_out == {1: "corrupt"}
    assert current.unsettled() == []
    with pytest.raises(NotEnoughWorkers):
        current.require_satisfiable(range(WORKERS))


def test_a_round_hopes_for_the_lost_and_not_for_those_whose_part_is_over() -> None:
    current = running()
    for number in range(WORKERS):
        current.place(worker_of(number, held=True), is_given=False)
        current.ask(number, 1.0)
    current.require_satisfiable()
    assert not current.hopes
    current.lose(2)
    current.require_satisfiable([2])
    assert current.hopes
    current.drop(1)
    with pytest.raises(NotEnoughWorkers):
        current.require_satisfiable([1, 2])
