"""Tools of the compiled loops: numba, and BLAS and LAPACK callable from inside it.

BLAS is reached through the C pointers that SciPy publishes. Their addresses are passed to compiled code as
arguments, not as constants, so that numba can keep the machine code on disk from one process to the next.

numba is loaded when the first loop runs, for it takes longer than all else that a model needs: models can be made,
loaded and asked without it, also where it is not installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

# loaded here, although used by address: a later search for the loaded BLAS must find this one
import scipy.linalg.cython_blas
import scipy.linalg.cython_lapack  # noqa: F401

from coded_als.baselines.code_cache import dispatcher_of
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
    """Inner product of two short vectors.

    ``left, right``: (k,) each.
    """
    total = left[0] * right[0]
    for k in range(1, left.size):
        total += left[k] * right[k]
    return total
