"""The place of the machine code of compiled loops, from one process to the next.

numba keeps it beside the source, or else in the user's own folder of caches. If neither can be written to, as in a
container with a user without a home, numba refuses to compile; then the code is kept in a folder of temporary files.

numba runs any code that it finds there. All users may write to the folder of temporary files, and they can foresee the
name. A folder of this name is therefore used only if it belongs to this user and no other user can enter it; it is
made so, and checked again before each use.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any


def dispatcher_of(function: Callable[..., Any], **options: Any) -> Any:
    """The dispatcher that numba makes of a function; its code is kept where that is possible."""
    import numba

    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no place
        folder = own_temporary_folder()
    if folder is None:
        return numba.njit(cache=False, **options)(function)
    with _kept_in(folder):
        return numba.njit(cache=True, **options)(function)


def kept_in() -> Path | None:
    """The folder that keeps the code of this package's loops; None where it is kept nowhere."""
    folder = dispatcher_of(_sample).stats.cache_path
    return Path(folder) if folder else None


def is_temporary(folder: Path) -> bool:
    """Whether it lies in the folder of temporary files, for want of a better place."""
    private = own_temporary_folder()
    return private is not None and folder.is_relative_to(private)


def own_temporary_folder() -> Path | None:
    """A folder of temporary files that is this user's alone, made where it does not exist; None where none can be had."""
    try:
        folder = Path(tempfile.gettempdir()) / f"coded-als-code-{os.geteuid()}"
        if not _is_safe_place(folder.parent):
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return folder if _is_ours_alone(folder) else None
    except OSError:
        return None


def _sample(number: float) -> float:
    """A function that numba would keep in the same place as the loops."""
    return number


def _is_ours_alone(folder: Path) -> bool:
    """Whether it is a folder, no link to one, that belongs to this user and that no other user may enter."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _is_safe_place(parent: Path) -> bool:
    """Whether no other user can replace a folder of ours: all may write here, but change only their own entries."""
    found = parent.stat()
    trusted = found.st_uid in (0, os.geteuid())
    return trusted and (bool(found.st_mode & stat.S_ISVTX) or not found.st_mode & 0o022)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Let numba keep the code of the functions decorated within the block in a folder."""
    # its settings are made when it is loaded, so no type checker knows them
    config: Any = import_module("numba.core.config")
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
