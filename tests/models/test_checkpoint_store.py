"""A store of another kind is four functions: fits that keep their state in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from coded_als.als import CodedALS
from coded_als.baselines import SGD, RidgeALS
from coded_als.cluster.inline import InlineCluster
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.checkpoint_store import LATEST, PREVIOUS

RATINGS = sparse.random_array((30, 20), density=0.4, format="csr", rng=np.random.default_rng(0))


class MemoryStore:
    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.is_locked, self.is_full = False, False

    def __str__(self) -> str:
        return "memory:kept"

    def read(self, name: str) -> bytes:
        return self.contents[name]

    def write(self, content: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        if LATEST in self.contents:
            self.contents[PREVIOUS] = self.contents[LATEST]
        self.contents[LATEST] = content

    def exists(self, name: str) -> bool:
        return name in self.contents

    def lock(self) -> Callable[[], object]:
        if self.is_locked:
            raise BlockingIOError
        self.is_locked = True
        return self.unlock

    def unlock(self) -> None:
        self.is_locked = False


@pytest.mark.parametrize(
    "model",
    [
        lambda iterations: RidgeALS(3, iterations=iterations),
        lambda iterations: SGD(3, iterations=iterations),
        lambda iterations: CodedALS(3, iterations=iterations, solver="als"),
    ],
)
def test_an_interrupted_fit_goes_on_from_memory_to_the_same_factors(model) -> None:
    store = MemoryStore()
    model(2).fit(RATINGS, checkpoint=Checkpoint(store))
    resumed = model(5).fit(RATINGS, checkpoint=Checkpoint(store, resume=True))
    whole = model(5).fit(RATINGS)
    assert np.array_equal(resumed.user_factors_, whole.user_factors_)
    assert len(resumed.history_) == 5
    assert not store.is_locked


def test_the_previous_snapshot_serves_where_the_latest_is_gone() -> None:
    store = MemoryStore()
    RidgeALS(3, iterations=3).fit(RATINGS, checkpoint=Checkpoint(store))
    del store.contents[LATEST]
    resumed = RidgeALS(3, iterations=3).fit(RATINGS, checkpoint=Checkpoint(store, resume=True))
    assert np.array_equal(resumed.user_factors_, RidgeALS(3, iterations=3).fit(RATINGS).user_factors_)


def test_what_a_store_refuses_is_one_line_that_names_it() -> None:
    store = MemoryStore()
    with pytest.raises(UsageError, match=r"one fit at a time; another one is writing to memory:kept"):
        RidgeALS(3, iterations=1).fit(
            RATINGS,
            checkpoint=Checkpoint(store),
            callback=lambda _entry: CodedALS(1).fit(RATINGS, InlineCluster(4), checkpoint=Checkpoint(store)),
        )
    RidgeALS(3, iterations=2).fit(RATINGS, checkpoint=Checkpoint(store, resume=True))
    with pytest.raises(UsageError, match=r"without one; memory:kept holds one"):
        RidgeALS(3).fit(RATINGS, checkpoint=Checkpoint(store))
    store.is_full, kept = True, store.contents[LATEST]
    with pytest.raises(UsageError, match=r"got memory:kept: No space left on device\. .* last good checkpoint is kept"):
        RidgeALS(3, iterations=3).fit(RATINGS, checkpoint=Checkpoint(store, resume=True))
    assert store.contents[LATEST] == kept
    store.contents[LATEST] = kept[:-1]
    with pytest.raises(UsageError, match=rf"got memory:kept/{LATEST}: .* Delete it to go on from {PREVIOUS}"):
        RidgeALS(3, iterations=3).fit(RATINGS, checkpoint=Checkpoint(store, resume=True))
