"""Hypothesis strategies and small builders that several test files share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csr_array

from coded_als.data.ratings import RatingData, from_triples

seeds = st.integers(0, 2**32 - 1)


@st.composite
def rating_triples(draw: st.DrawFn, max_users: int = 8, max_items: int = 8) -> dict[tuple[int, int], float]:
    """Ratings by (user, item), in an arbitrary order, at least one."""
    pairs = st.tuples(st.integers(0, max_users - 1), st.integers(0, max_items - 1))
    return draw(st.dictionaries(pairs, st.integers(1, 10).map(lambda half: half / 2), min_size=1))


def data_of(triples: dict[tuple[int, int], float], times: list[int] | None = None) -> RatingData:
    """The ratings as a reader would hand them over, in the order of the dictionary."""
    users, items = (np.array([pair[axis] for pair in triples], dtype=np.int64) for axis in (0, 1))
    values = np.array(list(triples.values()))
    return from_triples(
        users, items, values, None if times is None else np.array(times), np.arange(1, 1 + len(triples)), "test"
    )


def random_pattern(rng: np.random.Generator, shape: tuple[int, int], density: float = 0.3) -> csr_array:
    """A sparse pattern of ones."""
    return csr_array((rng.random(shape) < density).astype(np.int8))
