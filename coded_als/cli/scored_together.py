"""Lists for requests of many threads: those that wait are scored in one product, in float32, and the first again in float64."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.models.factor_model import FactorModel
from coded_als.models.recommending import unit_rows
from coded_als.models.top_n import best_of

# Requests of one product, and so many times n of the first in float32 are scored again.
TOGETHER, AGAIN = 16, 4
# Numbers beyond it could overflow in float32.
LARGEST = 1e15


@dataclass(eq=False)
class _Asked:
    factors: Floats  # (d,)
    hidden: Integers  # columns that must not appear
    n: int
    found: tuple[Integers, NDArray[np.float64]] | None = None


class ScoredTogether:
    """Items of a model that many threads rank at once.

    A product with all items reads them from memory, which takes longer than the arithmetic: for eight users together it
    takes hardly longer than for one. So a list under load takes less work than one alone.

    Parameters
    ----------
    items
        Factors of the items, (n, d).
    biases
        Biases of the items, (n,), or None.
    """

    def __init__(self, items: Floats, biases: Floats | None) -> None:
        self._items, self._biases = items, biases
        self._short = np.ascontiguousarray(items, dtype=np.float32)
        self._short_biases = None if biases is None else biases.astype(np.float32)[:, np.newaxis]
        self._turn = threading.Lock()
        self._waiting: deque[_Asked] = deque()
        self.products = 0  # so far

    @cached_property
    def alike(self) -> ScoredTogether:
        """The same for cosines."""
        return ScoredTogether(unit_rows(self._items), None)

    def similar(self, place: int, n: int) -> tuple[Integers, NDArray[np.float64]]:
        """The n rows at the smallest angles to that at a place, itself left out, and the cosines, (k,) with k at most n."""
        return self.alike.best(self.alike._items[place], np.array([place]), n)

    @staticmethod
    def suits(items: Any, biases: Floats | None) -> bool:
        """Whether the items are a table with numbers that float32 holds."""
        numbers = [one for one in (items, biases) if one is not None]
        return items.shape[1] < items.shape[0] and all(np.abs(one).max(initial=0.0) < LARGEST for one in numbers)

    def best(self, factors: Floats, hidden: Integers, n: int) -> tuple[Integers, NDArray[np.float64]]:
        """The n best columns, (k,) with k at most n, and their scores, of one user without the bias and the mean."""
        own = _Asked(factors, hidden, n)
        self._waiting.append(own)
        with self._turn:
            if own.found is None:
                self._answer([own, *self._others(own)])
        assert own.found is not None
        return own.found

    def _others(self, own: _Asked) -> Iterator[_Asked]:
        """The requests that have waited longest, without those that are answered."""
        taken = 1
        while self._waiting and taken < TOGETHER:
            one = self._waiting.popleft()
            if one is not own and one.found is None:
                taken += 1
                yield one

    def _answer(self, asked: list[_Asked]) -> None:
        users = np.array([one.factors for one in asked], dtype=np.float32)
        scores = self._short @ users.T
        self.products += 1
        if self._short_biases is not None:
            scores += self._short_biases
        for number, one in enumerate(asked):
            own = np.ascontiguousarray(scores[:, number])
            own[one.hidden] = -np.inf
            one.found = self._exactly(one, best_of(own, AGAIN * one.n)[0])

    def _exactly(self, one: _Asked, columns: Integers) -> tuple[Integers, NDArray[np.float64]]:
        """The best of some columns in float64."""
        columns = np.sort(columns)
        scores = self._items[columns].astype(np.float64) @ one.factors.astype(np.float64)
        if self._biases is not None:
            scores += self._biases[columns]
        places, best = best_of(scores, one.n)
        return columns[places], best


def rank_together(model: FactorModel) -> None:
    """Let a fitted model rank for the threads of a server together, until its next fit; EASE ranks as ever."""
    model._require_fitted()
    items, biases = model.item_factors_, model.item_biases_
    if isinstance(items, np.ndarray) and ScoredTogether.suits(items, biases):
        model._together = ScoredTogether(items, biases)
