"""The garbage collector waits until a round is over, but not for long."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import numpy as np
import pytest

from coded_als import LocalCluster
from coded_als.cluster import Round, all_of
from coded_als.errors import RoundTimeout, UsageError
from coded_als.master import guards as collector
from coded_als.master.guards import CollectorPutOff


class Looking:
    """A rule that wants two responses and notes, whenever it is asked, whether garbage may be collected."""

    needed = 2

    def __init__(self) -> None:
        self.on: list[bool] = []

    def satisfied(self, responded: tuple[int, ...]) -> bool:
        self.on.append(gc.isenabled())
        return len(responded) == 2


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2, delays="slow:n=1,delay=400ms", round_timeout_s=30.0) as cluster:
        yield cluster


def product() -> Round:
    return Round("inner_product", (), [(np.ones((1, 3, 2)),)] * 2, response_shapes=((1, 2, 2),))


def test_nothing_is_collected_in_a_round_and_everything_is_as_before_afterwards(cluster: LocalCluster) -> None:
    rule = Looking()
    cluster.run(product(), rule)
    assert not any(rule.on)
    assert gc.isenabled()


def test_a_long_round_does_not_keep_other_threads_garbage(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "LONGEST_S", 0.02)
    rule = Looking()
    cluster.run(product(), rule)
    assert rule.on[-1]
    assert not rule.on[0]


def test_it_is_put_off_for_a_second_and_no_more() -> None:
    now_s = 100.0
    with CollectorPutOff(lambda: now_s) as put_off:
        now_s = 100.9
        put_off.look()
        assert not gc.isenabled()
        now_s = 101.0
        put_off.look()
        assert gc.isenabled()


def test_a_round_that_fails_leaves_the_collector_on(cluster: LocalCluster) -> None:
    cluster.round_timeout_s = 0.05
    with pytest.raises(RoundTimeout):
        cluster.run(product(), all_of(2))
    assert gc.isenabled()
    with pytest.raises(UsageError):
        cluster.run(
            Round("product", ("missing",), [(np.ones((1, 2, 2)),)] * 2, response_shapes=((1, 2, 2),)), all_of(2)
        )
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_so() -> None:
    gc.disable()
    try:
        with CollectorPutOff(time.monotonic) as put_off:
            put_off.look()
        assert not gc.isenabled()
    finally:
        gc.enable()
