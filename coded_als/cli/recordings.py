"""Recordings of a fit: delays to replay, and timelines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coded_als.cluster import Cluster, Observer, TaskEvent
from coded_als.cluster.recording import TimelineRecorder, TraceRecorder
from coded_als.errors import CodedALSError

DRAWN = (".pdf", ".svg", ".png")


class Recording(Protocol):
    """An observer that saves its observations."""

    def __call__(self, event: TaskEvent) -> None:
        """Take note of an event."""

    def save(self, path: Path) -> None:
        """Write the recording."""


Recordings = list[tuple[Path, Recording]]


def timeline_recorder(path: Path, clock: str) -> Recording:
    """The recorder of a timeline: a figure for ``.pdf``, ``.svg`` and ``.png``, else for a trace viewer.

    Raises UsageError when a figure is asked for and matplotlib is not installed.
    """
    if path.suffix.lower() not in DRAWN:
        return TimelineRecorder()
    # matplotlib is loaded for a figure alone
    from coded_als.experiments.report.timeline import TimelineDrawing

    return TimelineDrawing(clock)


def save_recordings(recorders: Recordings) -> None:
    """Write every recording, even if others fail.

    Raises CodedALSError when some could not be written; the others are.
    """
    failures = []
    for path, recorder in recorders:
        try:
            recorder.save(path)
        except CodedALSError as error:
            failures.append(str(error))
    if failures:
        raise CodedALSError(" ".join(failures))


@dataclass(frozen=True)
class RecordingOptions:
    """Files that a fit is recorded into, if any."""

    record_delays: Path | None
    timeline: Path | None


def recorders_on(cluster: Cluster, options: RecordingOptions) -> Recordings:
    """The files and recorders that the options name; they record the cluster from now on."""
    recorders: Recordings = []
    if options.record_delays is not None:
        recorders.append((options.record_delays, TraceRecorder()))
    if options.timeline is not None:
        recorders.append(
            (options.timeline, timeline_recorder(options.timeline, "virtual" if cluster.virtual else "wall"))
        )
    observers: list[Observer] = [recorder for _, recorder in recorders]
    cluster.observers.extend(observers)
    return recorders
