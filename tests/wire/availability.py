"""Whether this system has memory that a master can share."""

from __future__ import annotations

import pytest

from coded_als.wire import shared_memory


def is_available() -> bool:
    memory = shared_memory()
    if memory is not None:
        memory.close()
    return memory is not None


needs_shared_memory = pytest.mark.skipif(
    not is_available(), reason="this system has no memory that others cannot write to"
)
