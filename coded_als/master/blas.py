"""One BLAS thread in this process while any local cluster is open."""

from __future__ import annotations

import threading
from typing import Any

_lock = threading.Lock()
_holders = 0
_limits: Any = None


def keep_blas_to_one_thread() -> None:
    """Limit BLAS to one thread, until everybody who called this has called `give_blas_its_threads_back`."""
    global _holders, _limits
    # a BLAS that is loaded later would not be limited, and the algorithm brings SciPy's
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with _lock:
        if _holders == 0:
            _limits = threadpool_limits(1, "blas")
        _holders += 1


def give_blas_its_threads_back() -> None:
    """Give BLAS its threads back, with the last holder."""
    global _holders, _limits
    with _lock:
        _holders -= 1
        if _holders == 0:
            _limits.restore_original_limits()
            _limits = None
