"""Lists of ids: one in each line of a text."""

from __future__ import annotations

from pathlib import Path

from coded_als.data.dialect import rows_of
from coded_als.data.lines import Lines
from coded_als.errors import UsageError

# in no text, so that a line is one field
_NO_DELIMITER = b"\x1e"


def read_ids(path: Path, encoding: str | None = None) -> list[str]:
    """The ids in a text, one a line; quotes around an id are dropped as in ratings.

    Raises UsageError for a file that cannot be read, or holds no id.
    """
    try:
        ids = [
            row[0].strip(" \t")
            for first_line, text in Lines(path, encoding, quoted=True).chunks()
            for _, row in rows_of(text, _NO_DELIMITER, first_line, path.name)
        ]
    except UsageError:
        raise
    except UnicodeDecodeError:
        raise UsageError(
            f"ids must be UTF-8 text; {path.name} is none. Name the encoding, as in --encoding latin-1."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"ids must be in a readable text file; got {path}: {reason}. Check the path.") from None
    if not ids:
        raise UsageError(f"there must be at least one id; {path} has none. Add some.")
    return ids
