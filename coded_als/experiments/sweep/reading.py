"""Reading and writing the files of a result folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from coded_als.errors import UsageError
from coded_als.experiments.sweep.rows import STATUSES, StoredRow
from coded_als.experiments.sweep.tables import canonical
from coded_als.models.files import write_whole


def read_results(path: Path) -> tuple[dict[str, Any], list[StoredRow]]:
    """Spec and rows of a folder, also of one whose run has not ended.

    Raises
    ------
    UsageError
        If it is no results folder or is damaged.
    """
    try:
        spec = read_json(path / "spec.json")
        files = [path / name for name in ("results.jsonl", "journal.jsonl") if (path / name).exists()]
        whole = b"".join(file.read_bytes()[: file.read_bytes().rfind(b"\n") + 1] for file in files)
        rows = {canonical(row["cell"]): row for row in map(parse_row, whole.splitlines())}
    except (OSError, ValueError) as error:
        said = f"{Path(error.filename or path).name}: {error.strerror}" if isinstance(error, OSError) else error
        raise UsageError(
            f"a report needs a folder that sweep or reproduce wrote; got {path}: {said}. "
            "Check the path, or run it again with --resume."
        ) from None
    return spec, list(rows.values())


def parse_row(line: bytes, columns: Sequence[str] = ()) -> StoredRow:
    """One stored cell.

    Parameters
    ----------
    line
        JSON.
    columns
        Numbers that it must have when it is done.

    Raises
    ------
    ValueError
        When it is damaged.
    """
    row = _parse_json(line)
    if not isinstance(row, dict) or not isinstance(row.get("cell"), dict):
        raise ValueError("a line of results is no cell")
    if row.get("status") not in STATUSES:
        raise ValueError("a cell of the results has no status")
    if row["status"] == "done" and not all(type(row.get(name)) in (int, float) for name in columns):
        raise ValueError("a cell of the results lacks a number")
    canonical(row)  # refuses numbers that are not finite
    return cast(StoredRow, row)


def _parse_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document that is an object."""
    document = _parse_json(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no object")
    return document


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either all there or as it was before.

    Parameters
    ----------
    path
        The file.
    text
        All of it.
    """
    write_whole(path, lambda file: file.write(text.encode()))


@contextmanager
def saying_what_failed(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"results must go to a folder with write access and room; got {path}: {error.strerror}. "
            "Finished cells are kept: make room or access and add --resume, or choose another --out."
        ) from None
