"""Checks that every room shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coded_als.checks import all_finite

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)


@settings(max_examples=300)
@given(st.lists(ARRAYS, max_size=3))
def test_arrays_are_finite_when_all_their_entries_are(arrays: list[np.ndarray]) -> None:
    assert all_finite(arrays) == all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("value", [1.7e308, -1.7e308])
def test_entries_whose_sum_overflows_are_finite(value: float) -> None:
    assert all_finite([np.full(1000, value)])
    assert not all_finite([np.append(np.full(1000, value), np.nan)])
