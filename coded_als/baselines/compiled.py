"""Tools of the compiled loops: numba, and BLAS and LAPACK callable from inside it.

BLAS is reached through the C pointers that SciPy publishes. Their addresses are passed to compiled code as
arguments, not as constants, so that numba can keep the machine code on disk from one process to the next.

numba keeps it beside the source, or else in the user's own folder of caches. If neither can be written to, as in a
container with a user without a home, numba refuses to compile; then the code is kept in a folder of temporary files.
numba runs any code that it finds there. All users may write to the folder of temporary files, and they can foresee the
name. A folder of this name is therefore used only if it belongs to this user and no other user can enter it; it is
made so, and checked again before each use.

numba is loaded when the first loop runs, for it takes longer than all else that a model needs: models can be made,
loaded and asked without it, also where it is not installed.
"""

from __future__ import annotations

import inspect
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import scipy.linalg.cython_blas
import scipy.linalg.cython_lapack  # noqa: F401

from coded_als.errors import UsageError

# the dispatchers of the loops that have been called, by name
loops: dict[str, Any] = {}
# functions that loops call, in wait for numba; threads may come to a first loop together
Compiled = Callable[..., Any]
_helpers: list[Compiled] = []
_first_use = Lock()
# numba looks the call of Fortran up among the names of this module
_call: Any = None


@cache
def require_compiler() -> None:
    """Load numba; raise `UsageError` where there is none."""
    global _call
    try:
        import numba  # noqa: F401  # first, so that the message names it and not one of its own imports

        from coded_als.baselines.intrinsics import call_at
    except ImportError as error:
        raise UsageError(
            f"the sparse models need numba; got {error}. Install it with: pip install 'coded-als[baselines]'"
        ) from None
    _call = call_at


def compiled(function: Compiled) -> Compiled:
    """Compile on first use, keep the machine code on disk, and run without the interpreter's lock.

    Arithmetic that overflows gives infinity or NaN, as NumPy's does; the caller checks the result.
    """
    dispatcher: Compiled | None = None

    def run(*arguments: Any) -> Any:
        nonlocal dispatcher
        if dispatcher is None:
            with _first_use:
                dispatcher = dispatcher or _prepared(function)
        return dispatcher(*arguments)

    return run


def inlined(function: Compiled) -> Compiled:
    """A helper that is only called from `compiled` functions."""
    _helpers.append(function)
    return function


def _prepared(function: Compiled) -> Any:
    """The dispatcher of a function; people are told where compiling will take a while."""
    require_compiler()
    from numba.extending import register_jitable

    while _helpers:
        register_jitable(fastmath=True)(_helpers.pop())
    dispatcher: Any = dispatcher_of(function, nogil=True, fastmath=True, error_model="numpy")
    loop: Compiled = dispatcher
    loops[function.__name__] = loop
    if not _is_on_disk(function, dispatcher.stats.cache_path):
        _say_that_it_compiles()
    return loop


def _is_on_disk(function: Compiled, folder: str | None) -> bool:
    """Whether an earlier process left machine code of this function, as far as names and times tell."""
    if not folder:
        return False
    source = Path(inspect.getfile(function))
    written = [path.stat().st_mtime for path in Path(folder).glob(f"{source.stem}.{function.__name__}-*.nbi")]
    return max(written, default=0.0) >= source.stat().st_mtime


@cache
def _say_that_it_compiles() -> None:
    """Say once, to people, why nothing happens for a while."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        console.print("First use of the sparse models on this machine: compiling their loops, some 10 to 60 seconds.")


@cache
def routines(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Addresses of the BLAS and LAPACK routines syrk and posv for float32 or float64."""
    require_compiler()
    from numba.extending import get_cython_function_address

    letter = {"float32": "s", "float64": "d"}[dtype.name]
    blas, lapack = "scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"
    return (
        get_cython_function_address(blas, letter + "syrk"),
        get_cython_function_address(lapack, letter + "posv"),
    )


@inlined
def call_fortran(address: Any, pointers: Any, alive: Any) -> None:
    """Call a Fortran routine that takes only pointers, given as integers.

    ``alive`` are the arrays behind them that nothing else holds: compiled code frees an array after its last use.
    """
    _call(address, pointers)


@inlined
def dot(left: Any, right: Any) -> Any:
    """Inner product of two short vectors. ``left, right``: (k,) each."""
    total = left[0] * right[0]
    for k in range(1, left.size):
        total += left[k] * right[k]
    return total


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
