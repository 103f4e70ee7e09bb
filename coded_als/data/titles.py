"""Titles of items, from a file with an id and a title in each line."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from coded_als.errors import UsageError

# as in `coded_als.data.text`, and the one of MovieLens 100K
_DELIMITERS = ("\t", "::", "|", ";", ",")


def load_titles(path: Path) -> dict[str, str]:
    """Titles by item id.

    Parameters
    ----------
    path
        Text, UTF-8 or Latin-1: an id, a title and anything else in each line, separated by tabs, ``::``, ``|``,
        semicolons or commas; a field may stand in quotes.

    Raises
    ------
    UsageError
        For a file that cannot be read, or with the number of a line without a second field.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"titles must be a readable file; got {path}: {reason}. Check the path.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = re.split("\r*\n", text)
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((one for one in _DELIMITERS if one in first), None)
    if delimiter is None:
        raise UsageError(f"titles must be lines `id, title`; {path.name} begins {first[:60]!r}. Convert it.")
    titles = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            fields = _cut(line, delimiter)
            if len(fields) < 2:
                raise UsageError(
                    f"every line of titles must have an id and a title; got {line[:60]!r} in line {number} of "
                    f"{path.name}. Correct the line."
                )
            titles[fields[0].strip()] = fields[1].strip()
    return titles


def _cut(line: str, delimiter: str) -> list[str]:
    if len(delimiter) > 1:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter))
