"""The history of a fit, iteration by iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """One iteration of a fit.

    Parameters
    ----------
    index
        1, 2, 3, ...
    objective
        What the model minimises, regularisation included, where that is cheap; a running estimate for the
        stochastic models (each says of what).
    seconds
        Seconds since the fit started, on the wall or, on a cluster, on the cluster's clock.
    """

    index: int
    objective: float
    seconds: float


Callback = Callable[[Iteration], None]


class Progress:
    """Collects the history of one fit and tells the callback.

    Parameters
    ----------
    callback
        Called with every `Iteration`, or None.
    clock
        Returns seconds.
    before
        Iterations of the same fit before it was interrupted.
    """

    def __init__(
        self,
        callback: Callback | None,
        clock: Callable[[], float] = time.perf_counter,
        before: Sequence[Iteration] = (),
    ) -> None:
        self.history: list[Iteration] = list(before)
        self._callback, self._clock = callback, clock
        self._started = clock() - (self.history[-1].seconds if self.history else 0.0)

    def note(self, objective: float) -> None:
        """Record the end of an iteration."""
        iteration = Iteration(len(self.history) + 1, float(objective), self._clock() - self._started)
        self.history.append(iteration)
        if self._callback is not None:
            self._callback(iteration)
