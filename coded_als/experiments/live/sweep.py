"""A sweep to look at: how far it is, how long it will take, and what each finished cell found."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from coded_als.experiments.live.view import Line, View, duration
from coded_als.experiments.sweep.grids import Cell
from coded_als.experiments.sweep.rows import SweepRow, mean_seconds

LAST_CELLS = 30
# what a narrow page shows first; drawn times alone have no decoding error
HEADINGS = ("cell", "status", "seconds, or why not", "workers", "dead", "delays", "iterations", "decoding error")


class SweepStatus:
    """What `coded_als.experiments.sweep.runs.run_sweep` tells of its progress, to be looked at from any thread.

    Parameters
    ----------
    title
        What is swept.
    clock
        ``"wall"`` or ``"virtual"``: whose seconds the cells have.
    now
        A clock in wall seconds.
    """

    def __init__(self, title: str, clock: str, now: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock, self._now, self._started = title, clock, now, now()
        self._known = self._done = self._total = 0
        self._counts: Counter[str] = Counter()
        self._rows: deque[SweepRow] = deque(maxlen=LAST_CELLS)
        self._finished, self._lock = False, threading.Lock()

    def tell(self, done: int, total: int, row: SweepRow | None = None) -> None:
        """So many cells of so many have ended, the last of them with this row; none: what an earlier run has left.

        Parameters
        ----------
        done
            Cells that have ended.
        total
            Cells of the grid.
        row
            The last of them.
        """
        with self._lock:
            self._done, self._total = done, total
            if row is None:
                self._known = done
                return
            self._counts[row["status"]] += 1
            self._rows.appendleft(row)

    def finish(self) -> None:
        """The sweep has ended."""
        with self._lock:
            self._finished = True

    def view(self) -> View:
        """What can be seen now."""
        with self._lock:
            so_far, ran = self._now() - self._started, self._done - self._known
            left = so_far / ran * (self._total - self._done) if ran else None
            counts = ", ".join(f"{count} {status}" for status, count in self._counts.items()) or "none yet"
            facts = (
                ("cells", f"{self._done} of {self._total}, {self._known} of them from an earlier run"),
                ("of this run", counts),
                ("so far", duration(so_far)),
                ("time left", "none: it has ended" if self._finished else duration(left)),
            )
            lines = [self._line(row) for row in self._rows]
            shown = len(HEADINGS) if any(line.cells[-1] for line in lines) else len(HEADINGS) - 1
            cut = tuple(Line(line.cells[:shown], line.state) for line in lines)
            fraction = self._done / self._total if self._total else None
            return View(self._title, facts, HEADINGS[:shown], cut, fraction, self._finished)

    def _line(self, row: SweepRow) -> Line:
        cell, worst = Cell.of(row["cell"]), row.get("largest_decoding_error_estimate")
        found = (
            f"{mean_seconds(row, self._clock):.4g} {self._clock}" if row["status"] == "done" else row["reason"] or ""
        )
        cells = (
            cell.scheme.label,
            row["status"],
            found,
            str(cell.scheme.workers),
            str(cell.stragglers),
            cell.delays,
            str(row.get("iterations", "")),
            "" if worst is None else f"{worst:.0e}",
        )
        return Line(cells, {"done": "in time", "infeasible": "late"}.get(row["status"], "lost"))
