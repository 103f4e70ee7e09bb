"""Timelines of runs for a trace viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coded_als.cluster import TaskEvent
from coded_als.cluster.recording import EventLog, unwritable


class TimelineRecorder(EventLog):
    """Writes a run in the Chrome trace format, for Perfetto or ``chrome://tracing``: one row per worker."""

    def save(self, path: Path) -> None:
        """Write the JSON document.

        Raises
        ------
        CodedALSError
            When the file cannot be written.
        """
        document = {"traceEvents": [span for event in self.events for span in _spans(event)], "displayTimeUnit": "ms"}
        try:
            path.write_text(json.dumps(document) + "\n")
        except OSError as error:
            raise unwritable(path, error) from None


def _spans(event: TaskEvent) -> list[dict[str, Any]]:
    """The task, and inside it the injected delay and the computation that ends as the response leaves."""
    if event.sent_s is None:
        return []
    busy_s = event.waited_s + event.computed_s
    taken_s = busy_s if event.received_s is None else event.received_s - event.sent_s
    lead_s = (taken_s - busy_s) / 2
    delayed_s = event.sent_s + max(0.0, lead_s)
    parts = [
        (f"{event.label} ({event.status})", event.sent_s, taken_s),
        ("delayed", delayed_s, event.waited_s),
        ("computing", delayed_s + event.waited_s, event.computed_s),
    ]
    arguments = {"round": event.round_index, "status": event.status}
    return [
        {"name": name, "cat": event.status, "ph": "X", "pid": 0, "tid": event.worker}
        | {"ts": start_s * 1e6, "dur": duration_s * 1e6, "args": arguments}
        for name, start_s, duration_s in parts
        if duration_s > 0
    ]
