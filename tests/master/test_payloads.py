"""Payloads on their way: who shares memory is sent none, what is kept is sent, and what is overwritten never counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from coded_als import CodedALS
from coded_als.cluster import Fastest, Round, all_of
from coded_als.master import LocalCluster
from coded_als.master.membership import WorkerState
from coded_als.master.rounds import Payloads
from coded_als.wire import SharedMemory
from tests.wire.availability import needs_shared_memory

pytestmark = needs_shared_memory
MATRIX = np.random.default_rng(0).standard_normal((60, 40))


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(1 << 16)
    yield memory
    memory.close()


def worker(memory: str = "") -> WorkerState:
    return WorkerState(0, b"route", 1, 0.0, memory=memory)


def test_who_shares_memory_is_sent_no_payload(memory: SharedMemory) -> None:
    payloads = Payloads(Round("product", ("left",), [(np.ones((1, 4, 3)),)]), memory)
    shared = payloads.packed(worker(memory.name))
    assert not shared.frames
    assert payloads.packed(worker(memory.name)) is shared
    for stranger in (worker(), worker("coded-als-another")):
        assert len(payloads.packed(stranger).frames) == 1


def test_every_round_has_the_whole_memory(memory: SharedMemory) -> None:
    """Thirty rounds of 8 KB each in 64 KB: none is sent in frames because earlier ones lie there."""
    for index in range(30):
        payloads = Payloads(Round("product", ("left",), [(np.full((1, 32, 32), float(index)),)]), memory)
        assert not payloads.packed(worker(memory.name)).frames


def test_what_workers_are_to_keep_is_sent(memory: SharedMemory) -> None:
    payloads = Payloads(Round("product", ("left", "right"), [(np.ones((1, 4, 3)),)], keep=("right",)), memory)
    assert len(payloads.packed(worker(memory.name)).frames) == 1


def test_payloads_that_are_made_when_they_are_asked_for_are_not_mixed_up(memory: SharedMemory) -> None:
    class Made(list[tuple[np.ndarray]]):
        def __getitem__(self, index: object) -> tuple[np.ndarray]:  # type: ignore[override]
            return (np.full(2, float(index)),)  # type: ignore[arg-type]

    payloads = Payloads(Round("product", payloads=Made([()] * 9)), memory)  # type: ignore[list-item]
    offsets = [
        payloads.packed(WorkerState(number, b"", 1, 0.0, memory=memory.name)).described[0][2] for number in range(9)
    ]
    assert len(set(offsets)) == 9


def test_the_workers_of_this_machine_share_memory() -> None:
    with LocalCluster(2) as cluster:
        names = {state.memory for state in cluster._membership.workers.values()}
        assert len(names) == 1
        assert names != {""}


def test_a_straggler_whose_payload_was_overwritten_never_counts() -> None:
    rng = np.random.default_rng(1)
    left = rng.standard_normal((1, 30, 200))
    with LocalCluster(4, "exp:mean=2ms+bimodal:p=0.3,fast=0ms,slow=15ms") as cluster:
        cluster.store("left", [left] * 4)
        for _ in range(150):
            right = rng.standard_normal((1, 200, 20))
            round = Round("product", ("left",), [(right,)] * 4, response_shapes=((1, 30, 20),))
            for response in cluster.run(round, Fastest(2)).results.values():
                np.testing.assert_allclose(response[0], left @ right, rtol=1e-10, atol=1e-10)


def test_a_fit_is_the_same_where_no_memory_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted() -> np.ndarray:
        with LocalCluster(4) as cluster:
            return CodedALS(rank=3, seed=0).fit(MATRIX, cluster).item_factors_

    shared = fitted()
    monkeypatch.setattr("coded_als.master.link.shared_memory", lambda: None)
    with LocalCluster(2) as cluster:
        assert {state.memory for state in cluster._membership.workers.values()} == {""}
        cluster.store("one", [np.ones((1, 1, 1))] * 2)
        round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 2, response_shapes=((1, 1, 1),))
        assert len(cluster.run(round, all_of(2)).results) == 2
    np.testing.assert_allclose(np.abs(fitted()), np.abs(shared), rtol=1e-8, atol=1e-10)
