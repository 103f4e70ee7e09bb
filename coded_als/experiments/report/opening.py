"""Reading of a results folder for a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.report.results import Results
from coded_als.experiments.sweep.result_folder import read_results
from coded_als.experiments.sweep.rows import canonical


def open_results(folder: str | Path) -> Results:
    """Read a results folder.

    Parameters
    ----------
    folder
        What ``sweep --out`` or ``reproduce --out`` named.

    Raises
    ------
    UsageError
        If it is no results folder, is damaged or holds no finished cell.
    """
    folder = Path(folder)
    spec, rows = read_results(folder)
    if not any(row["status"] == "done" for row in rows):
        raise UsageError(f"a report needs a finished cell; {folder} has none. Run or resume the sweep.")
    if spec.get("kind") != "table1":
        # a run that has not ended stored its cells in the order of finishing
        with saying_damaged(folder):
            place = {canonical(cell): index for index, cell in enumerate(spec["cells"])}
            rows = sorted(rows, key=lambda row: place[canonical(row["cell"])])
    return Results(folder, spec, rows)


@contextmanager
def saying_damaged(folder: Path) -> Iterator[None]:
    """Turn what a damaged value stops, each place with an error of its own, into one line."""
    try:
        yield
    except (CodedALSError, OSError):
        raise
    except Exception as error:
        raise UsageError(
            f"stored results must be whole; {folder} is damaged ({type(error).__name__}: {error}). "
            "Run it again into another folder."
        ) from None
