"""Thresholds as closed forms against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.codes import EntangledPolynomialCode, iteration_threshold, largest_partitions
from coded_als.errors import UsageError


@pytest.mark.parametrize("points", ["circle", "real"])
@given(workers=st.integers(1, 500))
def test_largest_partitions_is_the_largest(points, workers):
    h = largest_partitions(workers, points)
    assert h == 0 or iteration_threshold(h, points) <= workers
    assert iteration_threshold(h + 1, points) > workers


@given(live=st.integers(1, 500))
def test_corrected_remark_3(live):
    assert largest_partitions(live, "real") == int(np.floor(np.sqrt(live + 1.25) - 0.5))


@pytest.mark.parametrize("points", ["circle", "real"])
def test_threshold_is_the_codes(points):
    for h in range(1, 9):
        assert EntangledPolynomialCode(h, h, 1, 90, points).recovery_threshold == iteration_threshold(h, points)


def test_no_partitions_are_refused():
    with pytest.raises(UsageError, match="partitions must be at least 1; got 0"):
        iteration_threshold(0)
