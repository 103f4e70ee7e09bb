"""Looking after processes in tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path


def is_running(process_id: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has reaped."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process_id}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc/self").exists() else True
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_end_within(process_ids: Iterable[int], timeout_s: float) -> bool:
    """Whether these processes are gone in time."""
    deadline = time.monotonic() + timeout_s
    left = set(process_ids)
    while left and time.monotonic() < deadline:
        left = {process_id for process_id in left if is_running(process_id)}
        time.sleep(0.005)
    return not left


def children(process_id: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found: set[int] = set()
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | children(child)
    return found
