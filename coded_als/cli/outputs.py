"""Output files of `fit`: refused before the work starts rather than after it, and written one by one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from coded_als.errors import UsageError


def require_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, str]) -> None:
    """Refuse before hours of work what saving would refuse, or destroy, after them.

    Parameters
    ----------
    outputs
        Files by the option that names them.
    inputs
        What is read, by path.

    Raises
    ------
    UsageError
        When a file cannot be written, is an input, or is named twice.
    """
    named = {option: path for option, path in outputs.items() if path is not None}
    taken = {os.path.realpath(path): what for path, what in inputs.items()}
    for option, path in named.items():
        other = next((what for known, what in taken.items() if _same_file(path, known)), None)
        if other is not None:
            raise UsageError(f"{option} must be a file of its own; got {path}, which holds {other}. Choose another.")
        _require_writable(option, path)
        taken[os.path.realpath(path)] = f"what {option} writes"


def _same_file(path: Path, known: str) -> bool:
    """Whether both are one file, also by a symbolic or a hard link."""
    try:
        return os.path.realpath(path) == known or path.samefile(known)
    except (OSError, ValueError):
        return False


def _require_writable(option: str, path: Path) -> None:
    replaced = option == "--out"  # a model is written beside its place and renamed; recordings are written in place
    if path.is_dir() or not path.absolute().parent.is_dir() or (replaced and path.exists() and not path.is_file()):
        raise UsageError(
            f"{option} must be a file in an existing folder; got {path}. Make the folder or choose another."
        )
    try:
        if path.is_file():
            with path.open("r+b"):
                pass
        if replaced or not path.exists():
            with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
                pass
    except OSError as error:
        raise UsageError(f"{option} must be writable; got {path}: {error.strerror}. Choose another.") from None
