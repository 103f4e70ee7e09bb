"""The history of a fit, iteration by iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coded_als.models.iterations import Iteration
from coded_als.models.reporting import Callback


class History:
    """Collects the iterations of one fit and tells of each.

    Parameters
    ----------
    report
        Called with each `Iteration`.
    clock
        Returns seconds.
    before
        Iterations of the same fit before it was interrupted.
    """

    def __init__(
        self,
        report: Callback,
        clock: Callable[[], float],
        before: Sequence[Iteration] = (),
    ) -> None:
        self.entries: list[Iteration] = list(before)
        self._report, self._clock = report, clock
        self._started = clock()

    def note(self, objective: float) -> None:
        """Record the end of an iteration."""
        now = self._clock()
        self.entries.append(Iteration(len(self.entries) + 1, float(objective), now - self._started))
        self._started = now
        self._report(self.entries[-1])
