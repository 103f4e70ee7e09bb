"""Assignment of worker numbers to Dask workers that come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coded_als.dask.cluster import DaskWorker, Slots


def present(**threads: int) -> dict[str, DaskWorker]:
    """Dask workers named as the keywords without their last digit, which stands for how often they were restarted."""
    return {name: DaskWorker(name[:-1], name, count) for name, count in threads.items()}


def test_each_thread_gets_one_number_and_each_number_one_thread() -> None:
    assert Slots(4).assign(present(a0=2, b0=2)) == {"a0": (0, 1), "b0": (2, 3)}


def test_more_workers_than_threads_are_shared_out() -> None:
    assert Slots(5).assign(present(a0=1, b0=1)) == {"a0": (0, 1, 2), "b0": (3, 4)}


def test_who_comes_back_gets_its_old_numbers_and_who_comes_anew_the_vacant_ones() -> None:
    slots = Slots(4)
    slots.assign(present(a0=2, b0=2))
    assert slots.assign(present(a0=2)) == {}
    assert slots.assign(present(a0=2, b1=2)) == {"b1": (2, 3)}
    assert slots.assign(present(b1=2, c0=1)) == {"c0": (0,)}
    assert slots.assign(present(b1=2, c0=1, a1=2)) == {"a1": (1,)}


def test_the_first_to_come_back_does_not_get_the_numbers_of_all() -> None:
    slots = Slots(4)
    slots.assign(present(a0=1, b0=1))
    assert slots.assign({}) == {}
    assert slots.assign(present(b1=1)) == {"b1": (2, 3)}


def test_what_could_not_be_started_is_assigned_again() -> None:
    slots = Slots(2)
    slots.assign(present(a0=2))
    slots.release("a0")
    assert slots.assign(present(a0=2)) == {"a0": (0, 1)}


@given(
    workers=st.integers(1, 12),
    history=st.lists(st.dictionaries(st.sampled_from(["a0", "a1", "b0", "b1", "c0"]), st.integers(1, 4)), max_size=8),
)
def test_no_number_is_ever_run_twice(workers: int, history: list[dict[str, int]]) -> None:
    slots = Slots(workers)
    running: dict[str, tuple[int, ...]] = {}
    for threads in history:
        running = {address: numbers for address, numbers in running.items() if address in threads}
        running |= slots.assign(present(**threads))
        numbers = [number for held in running.values() for number in held]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(range(workers))
