"""The timeline of a fit: workers against seconds, as rows and as a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from coded_als.cluster import TaskEvent
from coded_als.cluster.recording import EventLog
from coded_als.errors import CodedALSError
from coded_als.experiments.report.canvas import (
    COLOURS,
    INK,
    SOFT,
    WAY,
    Axes,
    ReportFigure,
    Table,
    add_legend,
    new_axes,
    scale_x,
)

ROW_IN = 0.15
# name, colour of a phase of a task
PHASES = (("messages", WAY), ("waiting (injected delay)", COLOURS[5]), ("computing", COLOURS[2]))
# status, name, marker, colour and size of an end of a task
ENDINGS = (
    ("counted", "response counted", "o", COLOURS[3], 4.0),
    ("late", "response too late", "s", COLOURS[4], 4.0),
    ("superseded", "superseded", "x", COLOURS[1], 4.5),
    ("corrupt", "response found wrong", "D", COLOURS[1], 4.0),
    ("refused", "response not finite", "D", COLOURS[4], 4.0),
    ("unfinished", "no response", "|", INK, 7.0),
)


@dataclass(frozen=True)
class TimelineRow:
    """One task of one worker, in seconds since the cluster started."""

    # as in `coded_als.cluster.TaskEvent`
    round_index: int
    label: str
    worker: int
    status: str
    # moments of sending, of the start of the injected delay, and of the start of computing. The way to the worker and
    # the way back are taken to last equally long
    sent_s: float
    waiting_s: float
    computing_s: float
    computed_s: float  # end of the computing
    done_s: float  # arrival of the response, or the moment at which the worker dropped the task
    pieces: int | None = None  # number of pieces of its share that counted; None in a round of whole shares


def timeline_rows(events: Iterable[TaskEvent]) -> list[TimelineRow]:
    """Return a row for each task that was sent, in the order of the events; ``pandas.DataFrame(rows)`` makes a table.

    Parameters
    ----------
    events
        Those of a `coded_als.cluster.recording.EventLog` that observed the cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import EventLog
    >>> from coded_als.experiments.report import timeline_rows
    >>> cluster, log = SimulatedCluster(6, "slow:n=1,delay=1s"), EventLog()
    >>> cluster.observers.append(log)
    >>> _ = CodedALS(rank=2, code="systematic:p=4").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> {row.status for row in timeline_rows(log.events) if row.worker == 5} <= {"superseded", "late", "unfinished"}
    True
    """
    return [_row(event, event.sent_s) for event in events if event.sent_s is not None]


def _row(event: TaskEvent, sent_s: float) -> TimelineRow:
    busy_s = event.waited_s + event.computed_s
    done_s = sent_s + busy_s if event.received_s is None else event.received_s
    waiting_s = sent_s + max(0.0, done_s - sent_s - busy_s) / 2
    computing_s = waiting_s + event.waited_s
    parts = (sent_s, waiting_s, computing_s, computing_s + event.computed_s, done_s)
    return TimelineRow(event.round_index, event.label, event.worker, event.status, *parts, event.pieces)


def round_ends(rows: Iterable[TimelineRow]) -> list[float]:
    """The second of the last counted response of each round, in order of the rounds."""
    ends: dict[int, float] = {}
    for row in rows:
        if row.status == "counted":
            ends[row.round_index] = max(ends.get(row.round_index, 0.0), row.done_s)
    return [ends[index] for index in sorted(ends)]


def timeline(events: Iterable[TaskEvent], *, clock: str = "wall", rounds: int | None = None) -> ReportFigure:
    """Draw workers against seconds: messages, waiting, computing, the end of each task, and the pieces that counted.

    Parameters
    ----------
    events
        Those of a `coded_als.cluster.recording.EventLog` that observed the cluster.
    clock
        ``"wall"`` or ``"virtual"``: the clock that measured the seconds.
    rounds
        The first so many rounds; all of them by default.

    Returns
    -------
    ReportFigure
        One row for each worker; dashed lines end the rounds.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import EventLog
    >>> from coded_als.experiments.report import timeline
    >>> cluster, log = SimulatedCluster(6, "slow:n=1,delay=1s"), EventLog()
    >>> cluster.observers.append(log)
    >>> _ = CodedALS(rank=2, code="systematic:p=4").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> figure = timeline(log.events, clock="virtual", rounds=4)
    """
    rows = timeline_rows(events)
    if rounds is not None:
        first = sorted({row.round_index for row in rows})[:rounds]
        rows = [row for row in rows if row.round_index in first]
    workers = sorted({row.worker for row in rows})
    ends = round_ends(rows)
    start = min((row.sent_s for row in rows), default=0.0)
    last = start + 1.03 * (max(ends, default=1.0) - start)
    figure, axes = new_axes(f"{clock} seconds", "worker", height=1.4 + ROW_IN * len(workers))
    scale_x(axes, [0.0])
    axes.set_xlim(start, last)
    axes.set_ylim(max(len(workers), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(workers)), [str(worker) for worker in workers], fontsize=7.5)
    axes.grid(visible=False, axis="y")
    shown = [row for row in rows if row.sent_s < last]
    place = {worker: index for index, worker in enumerate(workers)}
    _spans(axes, shown, place, last)
    for count, end in enumerate(ends):
        name = "end of a round" if count == 0 else f"_round {count}"  # one entry of the legend for all
        axes.axvline(end, color=SOFT, linestyle="--", linewidth=0.9, label=name)
    _endings(axes, shown, place, last)
    add_legend(figure, columns=3)
    return figure


def _spans(axes: Axes, rows: Sequence[TimelineRow], place: dict[int, int], last: float) -> None:
    """A bar for each phase that can be seen, all bars of one phase as one collection."""
    least = (last - axes.get_xlim()[0]) / 2000
    for phase, (name, colour) in enumerate(PHASES):
        bars = []
        for row in rows:
            begin, end = (
                (row.sent_s, row.done_s),
                (row.waiting_s, row.computing_s),
                (row.computing_s, row.computed_s),
            )[phase]
            if min(end, last) - begin > least:
                bars.append((place[row.worker], begin, min(end, last) - begin))
        if bars:
            ys, starts, widths = zip(*bars, strict=True)
            axes.barh(ys, widths, left=starts, height=0.62, color=colour, label=name, linewidth=0)


def _endings(axes: Axes, rows: Sequence[TimelineRow], place: dict[int, int], last: float) -> None:
    for status, name, marker, colour, size in ENDINGS:
        here = [row for row in rows if row.status == status]
        if here:
            axes.plot(
                [min(row.done_s, last) for row in here],
                [place[row.worker] for row in here],
                marker=marker, color=colour, markersize=size, linestyle="none", label=name, clip_on=False,
            )  # fmt: skip
    for row in rows:
        if row.pieces is not None and row.status == "counted":
            axes.annotate(
                str(row.pieces), (row.done_s, place[row.worker]), (3, 0), textcoords="offset points", va="center",
                fontsize=6, color=INK,
            )  # fmt: skip


class TimelineDrawing(EventLog):
    """An observer that saves the timeline of a run as a figure, in the format of the file's suffix.

    ``clock``: ``"wall"`` or ``"virtual"``: the clock that measured the seconds; ``rounds``: the first so many rounds:
    more cannot be told apart on a page.
    """

    def __init__(self, clock: str = "wall", rounds: int = 12) -> None:
        super().__init__()
        self.clock, self.rounds = clock, rounds

    def save(self, path: Path) -> None:
        """Write the figure."""
        try:
            timeline(self.events, clock=self.clock, rounds=self.rounds).savefig(path)
        except OSError as error:
            raise CodedALSError(
                f"the timeline must go to a file that can be written; got {path}: {error.strerror}. Choose another."
            ) from None


def timeline_table(events: Iterable[TaskEvent]) -> Table:
    """The data of `timeline`."""
    return tuple(field.name for field in fields(TimelineRow)), [astuple(row) for row in timeline_rows(events)]
