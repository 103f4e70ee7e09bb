"""Options of a sweep from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from coded_als.errors import UsageError


def read_spec_file(path: Path, options: Collection[str], repeated: Collection[str]) -> dict[str, Any]:
    """Values of options from a TOML file, by their names in ``options``.

    Parameters
    ----------
    path
        The file: the long options as keys, with ``-`` or ``_``; a list stands for a range or for several values.
    options
        Names that it may have, with ``-``.
    repeated
        Those whose lists are several values of one option.

    Raises
    ------
    UsageError
        When it cannot be read, has another key or holds a table.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--spec must be a readable file; got {path}: {error.strerror}. Check the path.") from None
    except ValueError as error:
        raise UsageError(f"--spec must be a TOML file; got {path}: {error}. Correct it.") from None
    values = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in options:
            raise UsageError(f"keys of {path} must be among {', '.join(options)}; got {key!r}. Correct it.")
        if isinstance(value, dict):
            raise UsageError(f"values of {path} must be texts, numbers or lists; got a table for {key!r}. Correct it.")
        listed = value if isinstance(value, list) else [value]
        several = name in repeated
        values[name] = [str(item) for item in listed] if several else _single(value)
    return values


def _single(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value
