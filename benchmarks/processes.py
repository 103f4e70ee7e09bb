"""Looking after processes in benchmarks."""

from __future__ import annotations

from pathlib import Path


def started_by(process_id: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found: set[int] = set()
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | started_by(child)
    return found


def is_running(process_id: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has reaped."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
