"""Orthonormal bases beside what is known, and singular triplets, whatever the columns look like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.als.ritz import orthonormal_complement, singular_triplets


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    known=st.integers(0, 6),
    columns=st.integers(0, 6),
    decades=st.floats(0, 14),
    inside=st.booleans(),
    scale=st.integers(-150, 100),
)
def test_a_complement_is_orthonormal_and_leaves_nothing_out(
    seed: int, rows: int, known: int, columns: int, decades: float, inside: bool, scale: int
) -> None:
    random = np.random.default_rng(seed)
    space = np.linalg.qr(random.standard_normal((rows, min(known, rows))))[0]
    block = random.standard_normal((rows, columns))
    if columns > 1:  # columns that are close to dependent
        block = block[:, :1] + block * np.logspace(0, -decades, columns)
    if inside:  # and close to what is known
        block = space @ random.standard_normal((space.shape[1], columns)) + 10.0**-decades * block
    found = orthonormal_complement(block * 10.0**scale, [space])
    together = np.hstack([space, found])
    assert together.shape[1] <= rows
    # two passes leave this of a block that is close to dependent and, by ten decades, inside what is known
    np.testing.assert_allclose(together.T @ together, np.eye(together.shape[1]), rtol=0, atol=1e-12)
    units = block / np.maximum(np.linalg.norm(block, axis=0), 1e-300)
    assert np.linalg.norm(units - together @ (together.T @ units), axis=0).max(initial=0.0) < 1e-9


@pytest.mark.parametrize("columns", [np.zeros((5, 3)), np.empty((5, 0))])
def test_columns_of_zeros_are_dropped(columns: np.ndarray) -> None:
    space = np.full((5, 1), 5**-0.5)
    assert orthonormal_complement(columns, [space]).shape == (5, 0)


@pytest.mark.parametrize("panel_rows", [1, 7, 50, 1000])
@pytest.mark.parametrize("decades", [0, 6, 12])
def test_triplets_by_panels_are_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, panel_rows: int, decades: int
) -> None:
    """Down to singular values that a Gram matrix would have lost."""
    monkeypatch.setattr("coded_als.als.ritz.PANEL_ROWS", panel_rows)
    generator = np.random.default_rng(panel_rows + decades)
    vectors = np.linalg.qr(generator.standard_normal((30, 6)))[0]
    images = generator.standard_normal((203, 6)) * np.logspace(0, -decades, 6)
    images[20:40] = 0.0
    whole = np.linalg.svd(images, compute_uv=False)
    frozen = images.copy()
    frozen.flags.writeable = False
    for ours in (frozen, images.copy()):
        left, sizes, right = singular_triplets(vectors, ours)
        np.testing.assert_allclose(sizes, whole, rtol=1e-12 if decades < 12 else 1e-3)
        np.testing.assert_allclose(left.T @ left, np.eye(6), rtol=0, atol=1e-14)
        np.testing.assert_allclose(left * sizes @ (right.T @ vectors), images, atol=1e-14)
    assert np.shares_memory(left, ours)
    np.testing.assert_array_equal(frozen, images)


@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_triplets_of_images_that_are_nearly_dependent_are_as_exact(apart: float, scale: float) -> None:
    """They are no images of Ritz vectors, and a Gram matrix has lost their difference."""
    generator = np.random.default_rng(5)
    vectors = np.linalg.qr(generator.standard_normal((30, 4)))[0]
    images = generator.standard_normal((200, 4)) * [1.0, 1.0, 1e-5, 1e-9]
    images[:, 1] = images[:, 0] + apart * images[:, 1]
    images *= scale
    whole = np.linalg.svd(images, compute_uv=False)
    left, sizes, right = singular_triplets(vectors, images.copy())
    np.testing.assert_allclose(sizes, whole, rtol=0, atol=1e-15 * whole[0])
    np.testing.assert_allclose(left.T @ left, np.eye(4), rtol=0, atol=1e-13)
    np.testing.assert_allclose(left * sizes @ (right.T @ vectors), images, rtol=0, atol=1e-14 * whole[0])


def test_triplets_of_columns_that_are_close_are_exact_to_rounding() -> None:
    """A Gram matrix still has their digits, and the inverse of its triangle has fewer."""
    generator = np.random.default_rng(7)
    worst = 0.0
    for _ in range(300):
        images = generator.standard_normal((40, 5))
        images[:, 1] = images[:, 0] + 10.0 ** generator.uniform(-5, -3) * images[:, 1]
        left, sizes, right = singular_triplets(np.eye(5), images.copy())
        worst = max(worst, float(np.abs(left * sizes @ right.T - images).max()) / float(sizes[0]))
        np.testing.assert_allclose(left.T @ left, np.eye(5), rtol=0, atol=1e-14)
    assert worst < 5e-15


def test_left_vectors_are_orthonormal_where_one_pass_would_lose_digits() -> None:
    """Columns that are just far enough apart for a Gram matrix: one pass leaves a defect of 2e-13."""
    generator = np.random.default_rng(7)
    for _ in range(400):
        images = generator.standard_normal((40, 5))
        images[:, 1] = images[:, 0] + 10.0 ** generator.uniform(-1.2, -0.8) * images[:, 1]
        left, _, _ = singular_triplets(np.eye(5), images)
        np.testing.assert_allclose(left.T @ left, np.eye(5), rtol=0, atol=2e-14)
