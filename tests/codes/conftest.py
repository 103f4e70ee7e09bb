"""One BLAS thread: thousands of small decompositions wait for threads longer than they compute."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="package")
def one_blas_thread():
    with threadpool_limits(1):
        yield
