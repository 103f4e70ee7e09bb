"""Tools of the compiled loops: numba, and BLAS and LAPACK callable from inside it.

BLAS is reached through the C pointers that SciPy publishes. Their addresses are passed to compiled code as
arguments, not as constants, so that numba can keep the machine code on disk from one process to the next.

Without numba everything here can be imported, so that models can be made, loaded and asked; nothing can be run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# loaded here, although used by address: whoever looks for the loaded BLAS afterwards must find this one
import scipy.linalg.cython_blas
import scipy.linalg.cython_lapack  # noqa: F401

from coded_als.errors import UsageError

try:
    import numba
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba.core import cgutils, types
    from numba.extending import get_cython_function_address, intrinsic, register_jitable
except ImportError as error:
    numba, _absence = None, str(error)  # type: ignore[assignment]

Compiled = Callable[..., Any]


def require_compiler() -> None:
    """Raise `UsageError` unless compiled loops can run."""
    if numba is None:
        raise UsageError(
            f"the sparse models need numba; got {_absence}. Install it with: pip install 'coded-als[baselines]'"
        )


def compiled(function: Compiled) -> Compiled:
    """Compile on first use, keep the machine code on disk, and run without the interpreter's lock.

    Arithmetic that overflows gives infinity or NaN, as NumPy's does; whoever calls looks at the result.
    """
    if numba is None:
        return function
    dispatcher = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")(function)
    asked = False

    def run(*arguments: Any) -> Any:
        nonlocal asked
        if not asked:
            asked = True
            if not _is_on_disk(function, dispatcher.stats.cache_path):
                _say_that_it_compiles()
        return dispatcher(*arguments)

    return run


def inlined(function: Compiled) -> Compiled:
    """A helper that is only called from `compiled` functions."""
    if numba is None:
        return function
    result: Compiled = register_jitable(fastmath=True)(function)
    return result


def _is_on_disk(function: Compiled, folder: str | None) -> bool:
    """Whether an earlier process left machine code of this function, as far as names and times tell."""
    if folder is None:
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
    letter = {"float32": "s", "float64": "d"}[dtype.name]
    blas, lapack = "scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"
    return (
        get_cython_function_address(blas, letter + "syrk"),
        get_cython_function_address(lapack, letter + "posv"),
    )


if numba is not None:

    @intrinsic
    def _call(typing_context: Any, address: Any, pointers: Any) -> Any:
        count = len(pointers)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            byte_pointer = ir.IntType(8).as_pointer()
            function = ir.FunctionType(ir.VoidType(), [byte_pointer] * count)
            target = builder.inttoptr(arguments[0], function.as_pointer())
            unpacked = cgutils.unpack_tuple(builder, arguments[1], count)  # type: ignore[no-untyped-call]
            builder.call(target, [builder.inttoptr(pointer, byte_pointer) for pointer in unpacked])
            return context.get_dummy_value()

        return types.void(address, pointers), generate


@inlined
def call_fortran(address: Any, pointers: Any, alive: Any) -> None:
    """Call a Fortran routine, all of whose arguments are pointers, given as integers.

    ``alive`` are the arrays behind them that nothing else holds: compiled code frees an array after its last use.

    Parameters
    ----------
    address
        Of the routine.
    pointers
        Its arguments, as integers.
    alive
        The arrays behind them.
    """
    _call(address, pointers)  # type: ignore[call-arg]


@inlined
def dot(left: Any, right: Any) -> Any:
    """Inner product of two short vectors.

    Parameters
    ----------
    left, right
        (k,) each.
    """
    total = left[0] * right[0]
    for k in range(1, left.size):
        total += left[k] * right[k]
    return total
