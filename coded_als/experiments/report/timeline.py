"""A run as a picture: one row for each worker, what it did and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from coded_als.experiments.report.figures import Figure
from coded_als.experiments.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Plot, Scale

Row = dict[str, Any]
ROW_HEIGHT = 14
PHASES = (("sent", "messages"), ("delayed", "delayed"), ("computing", "computing"))
ENDINGS = (
    ("answered", "answered, counted"),
    ("late", "answered too late"),
    ("superseded", "pre-empted"),
    ("unfinished", "never answered"),
)


def timeline(examples: Row) -> Figure | None:
    """The timeline of the stored run; rounds are separated by the moments at which they ended."""
    run = examples["timeline"]
    if not run or not run["events"]:
        return None
    events, workers = run["events"], run["workers"]
    ends = _round_ends(events)
    last = max(ends) * 1.02
    height = TOP + BOTTOM + ROW_HEIGHT * workers
    x = Scale(0.0, last, LEFT, WIDTH - RIGHT)
    y = Scale(0.0, workers, TOP, height - BOTTOM)
    plot = Plot(x, y, f"{examples['clock']} seconds", "worker", height=height)
    seen = [event for event in events if event["sent_s"] is not None and event["sent_s"] < last]
    for event in seen:
        _draw_spans(plot, event, last)
    for end in ends:
        plot.raw(f'<line class="end-of-round" x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    # above the spans of the round after
    for event in seen:
        plot.raw(_ending(event["status"], x(min(_done_s(event), last)), y(event["worker"]) + ROW_HEIGHT / 2))
    return Figure(
        f"Timeline: {run['scheme']}, {workers} workers, delays {examples['delays']}",
        "Rows are workers. A round ends (dashed line) at the last answer it needs; whoever still works on it then is "
        "pre-empted and starts on the next round at once.",
        _legend() + plot.render("timeline of a run"),
        ("round", "label", "worker", "status", "sent, s", "received, s", "delayed, s", "computing, s"),
        tuple(
            (
                e["round_index"],
                e["label"],
                e["worker"],
                e["status"],
                e["sent_s"],
                "" if e["received_s"] is None else e["received_s"],
                e["waited_s"],
                e["computed_s"],
            )
            for e in events
        ),
    )


def _round_ends(events: Sequence[Row]) -> list[float]:
    ends: dict[int, float] = {}
    for event in events:
        if event["status"] == "answered":
            ends[event["round_index"]] = max(ends.get(event["round_index"], 0.0), event["received_s"])
    return [ends[index] for index in sorted(ends)]


def _done_s(event: Row) -> float:
    """When the answer was there, or the worker let go of the task."""
    if event["received_s"] is not None:
        return float(event["received_s"])
    return float(event["sent_s"] + event["waited_s"] + event["computed_s"])


def _draw_spans(plot: Plot, event: Row, last: float) -> None:
    sent, done = event["sent_s"], _done_s(event)
    busy = event["waited_s"] + event["computed_s"]
    delayed = sent + (done - sent - busy) / 2
    computing = delayed + event["waited_s"]
    top = plot.y(event["worker"]) + 2
    spans = (("sent", sent, done), ("delayed", delayed, computing), ("computing", computing, delayed + busy))
    for name, start, stop in spans:
        width = plot.x(min(stop, last)) - plot.x(start)
        if width > 0.05:
            plot.raw(
                f'<rect class="{name}" x="{plot.x(start):.1f}" y="{top:.1f}" width="{width:.1f}" height="{ROW_HEIGHT - 4}"/>'
            )


def _ending(status: str, x: float, y: float) -> str:
    if status == "superseded":
        return f'<path class="superseded" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
    if status in ("answered", "late"):
        return f'<circle class="{status}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    return f'<path class="unfinished" d="M{x:.1f} {y - 4:.1f}v8"/>'


def _legend() -> str:
    phases = [
        f'<span><svg width="28" height="14"><rect class="{css}" x="2" y="2" width="24" height="10"/></svg>{escape(text)}</span>'
        for css, text in PHASES
    ]
    endings = [
        f'<span><svg width="28" height="14">{_ending(css, 14, 7)}</svg>{escape(text)}</span>' for css, text in ENDINGS
    ]
    return f'<div class="legend">{"".join(phases + endings)}</div>'
