"""Codes side by side, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coded_als.codes import parse_code
from coded_als.errors import UsageError
from coded_als.experiments.text_tables import as_text

if TYPE_CHECKING:
    from coded_als.experiments.code_survey import CodeRow, Setting


def draw_codes(rows: Sequence[CodeRow], path: Path) -> None:
    """Draw time against memory.

    Parameters
    ----------
    rows
        One for each code.
    path
        Where the figure goes.

    Raises
    ------
    UsageError
        When it cannot be drawn or written.
    """
    from coded_als.experiments.report.saving import FORMATS
    from coded_als.experiments.report.sweep_figures import MemoryPoint, time_against_memory

    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"--figure must end in {', '.join(FORMATS)}; got {path}. Rename it.")
    points = [
        MemoryPoint(row.code, row.kind, parse_code(row.code).coded, row.memory_bytes, row.mean_s)
        for row in rows
        if row.mean_s is not None
    ]
    if not points:
        raise UsageError("--figure needs a code whose rounds end; none does under these delays. Change them.")
    try:
        time_against_memory(points, "virtual seconds of a round").savefig(path)
    except OSError as error:
        raise UsageError(f"--figure must be writable; got {path}: {error.strerror}. Choose another.") from None


def print_codes(rows: Sequence[CodeRow], setting: Setting) -> None:
    """Print the table and what its columns mean.

    Parameters
    ----------
    rows
        One for each code.
    setting
        What they were compared for.
    """
    click.echo(
        f"E = D X with D {setting.length} x {setting.length} and {setting.columns} columns, {setting.workers} workers, "
        f"delays {setting.delays} (virtual ms)"
    )
    names = ("needs", "share", "work", "sent kB", "back kB", "error p50", "p99", "rack", "round ms", "p99 ms")
    click.echo(as_text(("code", *names), [_cells(row) for row in rows], first_left=True))
    click.echo(
        "share: of D on a worker; work: of the product, by a worker; sent, back: to and from a worker in a round; error: of "
        "random responses as many as needed; rack: the worst after losing neighbours."
    )


def _cells(row: CodeRow) -> list[str]:
    errors = (row.errors.median, row.errors.p99, row.errors.contiguous)
    return [
        f"{row.code}, sparse rows" if row.kind == "sparse rows" else row.code,
        str(row.threshold),
        f"{row.share:.1%}",
        f"{row.work:.1%}",
        f"{row.payload_bytes / 1e3:.0f}",
        f"{row.response_bytes / 1e3:.0f}",
        *(f"{error:.0e}" for error in errors),
        *("never" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in (row.mean_s, row.p99_s)),
    ]
