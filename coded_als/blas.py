"""BLAS held to one thread in this process, as long as anybody needs that."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

_lock = threading.Lock()
# those who hold BLAS, those who need all of its threads all the same, and the limits while it is held
_holders, _released = 0, 0
_limits: Any = None
# the number of modules when this process was last searched for libraries of BLAS, and the libraries: a search takes a
# millisecond, and only new modules bring new ones
_libraries: tuple[int, Any] = (0, None)


def one_blas_thread() -> AbstractContextManager[None]:
    """Hold BLAS to one thread; where several hold it at a time, also in other threads, the last one gives the threads back."""
    return _counted(holders=1)


def all_blas_threads() -> AbstractContextManager[None]:
    """Give BLAS its threads back for a while, for long work while the workers of this machine have none."""
    return _counted(released=1)


@contextmanager
def _counted(holders: int = 0, released: int = 0) -> Iterator[None]:
    _change(holders, released)
    try:
        yield
    finally:
        _change(-holders, -released)


def _change(holders: int, released: int) -> None:
    global _holders, _released, _limits
    # a BLAS that is loaded later would not be held, and the algorithm brings SciPy's
    import scipy.linalg  # noqa: F401

    with _lock:
        _holders, _released = _holders + holders, _released + released
        held = _holders > 0 and _released == 0
        if held and _limits is None:
            _limits = _found_libraries().limit(limits=1, user_api="blas")
        elif not held and _limits is not None:
            _limits.restore_original_limits()
            _limits = None


def _found_libraries() -> Any:
    """The libraries of BLAS in this process; it is searched again where it has other modules than last time."""
    global _libraries
    from threadpoolctl import ThreadpoolController

    if _libraries[0] != len(sys.modules):
        _libraries = len(sys.modules), ThreadpoolController()
    return _libraries[1]
