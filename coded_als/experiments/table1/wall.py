"""Wall seconds of cells, in a file of their own: they depend on the machine."""

from __future__ import annotations

import json
from pathlib import Path

from coded_als.errors import UsageError
from coded_als.experiments.sweep.result_folder import saying_what_failed
from coded_als.experiments.sweep.rows import canonical
from coded_als.experiments.table1.rows import WallRow

WALL_FILE = "wall.jsonl"


def append_wall(path: Path, row: WallRow) -> None:
    with saying_what_failed(path), path.open("a") as file:
        file.write(canonical(row) + "\n")


def read_wall(folder: Path) -> list[WallRow]:
    """Wall seconds of the cells that have them.

    Raises
    ------
    UsageError
        When the file is damaged.
    """
    path = folder / WALL_FILE
    if not path.exists():
        return []
    whole = path.read_text(errors="replace")
    try:
        rows: list[WallRow] = [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]
        for row in rows:  # what the table shows of them
            canonical(row["cell"]), float(row["wall_seconds_per_round_mean"])
        return rows
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"wall times must be whole lines; {path} is damaged. Remove it and run again.") from None
