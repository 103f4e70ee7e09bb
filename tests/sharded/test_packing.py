"""Dense batches hold every entry once, and a half-step over them sums each row where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.sharded.packing import Batches, Placement, deal_to_devices, pack, padding


@st.composite
def problems(draw: st.DrawFn) -> tuple[sparse.csr_array, int, int, int]:
    """A matrix with empty, short and long rows, a number of devices, pieces of a batch, and their length."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, others = draw(st.integers(1, 40)), draw(st.integers(1, 300))
    dense = rng.random((rows, others)) < rng.random((rows, 1)) ** draw(st.integers(1, 8))
    dense[rng.integers(rows), rng.integers(others)] = True
    return (
        sparse.csr_array(dense.astype(float)),
        draw(st.integers(1, 5)),
        draw(st.integers(16, 40)),
        draw(st.integers(1, 9)),
    )


def placements(matrix: sparse.csr_array, devices: int) -> tuple[Placement, Placement]:
    lengths = np.diff(matrix.indptr)
    return deal_to_devices(lengths, devices), deal_to_devices(
        np.bincount(matrix.indices, minlength=matrix.shape[1]), devices
    )


def replay(groups: list[Batches], values: np.ndarray, rows: Placement, others: Placement) -> np.ndarray:
    """Sums over each row of the other side's values, by the very steps that devices take."""
    solved = np.full((rows.total, values.shape[1]), np.nan)
    for group in groups:
        replay_group(group, values, rows, others, solved)
    return rows.collect(solved)


def replay_group(batches: Batches, values: np.ndarray, rows: Placement, others: Placement, solved: np.ndarray) -> None:
    shape = batches.shape
    table = others.spread(values).reshape(shape.devices, others.height, -1)
    sends = batches.sends.reshape(shape.devices, shape.batches, shape.devices, shape.sent)
    for device in range(shape.devices):
        carried = np.zeros(values.shape[1])
        for batch in range(shape.batches):
            at = device * shape.batches + batch
            pool = np.concatenate([table[sender][sends[sender, batch, device]] for sender in range(shape.devices)])
            pool = np.concatenate([pool, np.zeros((1, values.shape[1]))])
            factors = pool[batches.entries[at]]
            sums = np.zeros((shape.solved + 1, values.shape[1]))
            slot = piece = 0
            for length, width in zip(shape.lengths, shape.widths, strict=True):
                parts = factors[slot : slot + length * width].reshape(width, length, -1).sum(axis=1)
                np.add.at(sums, batches.owners[at, piece : piece + width], parts)
                slot, piece = slot + length * width, piece + width
            sums[batches.carries[at]] += carried
            carried = sums[-1]
            done = batches.rows[at] < rows.height
            places = device * rows.height + batches.rows[at][done]
            assert np.isnan(solved[places]).all(), "a row is solved twice"
            solved[places] = sums[:-1][done]
        assert not carried.any(), "a row is left open"


@settings(max_examples=150)
@given(problems())
def test_every_row_is_summed_once_over_its_own_entries(problem: tuple[sparse.csr_array, int, int, int]) -> None:
    matrix, devices, pieces, length = problem
    rows, others = placements(matrix, devices)
    groups = pack(matrix, rows, others, pieces, length)
    # whole numbers, so that sums are exact
    values = np.random.default_rng(0).integers(1, 2**20, (matrix.shape[1], 2)).astype(float)
    found = replay(groups, values, rows, others)
    filled = np.diff(matrix.indptr) > 0
    assert np.array_equal(found[filled], (matrix @ values)[filled])
    assert np.isnan(found[~filled]).all()
    held = np.concatenate([group.order[group.order >= 0] for group in groups])
    assert np.array_equal(np.sort(held), np.arange(matrix.nnz))
    numbers = np.concatenate([group.numbers[group.numbers >= 0] for group in groups])
    assert np.array_equal(np.sort(numbers), np.flatnonzero(filled))
    for group in groups:
        belonging = (group.entries.reshape(len(group.order), -1) < devices * group.shape.sent) == (group.order >= 0)
        assert belonging.all()


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.integers(1, 9))
def test_rows_are_dealt_evenly(lengths: list[int], devices: int) -> None:
    placed = deal_to_devices(np.array(lengths), devices)
    assert len(np.unique(placed.position)) == len(lengths)
    assert placed.position.max() < placed.total
    owner = placed.position // placed.height
    held = np.bincount(owner, weights=lengths, minlength=devices)
    assert held.max() - held.min() <= max(lengths)
    rows = np.arange(2 * len(lengths)).reshape(-1, 2)
    assert np.array_equal(placed.collect(placed.spread(rows)), rows)


def power_law(rows: int, mean: float, seed: int = 0) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, rows + 1) ** 0.8
    draws = rng.choice(rows, (2, int(rows * mean)), p=weights / weights.sum())
    matrix = sparse.csr_array((np.ones(draws.shape[1]), tuple(draws)), shape=(rows, rows))
    matrix.sum_duplicates()
    return matrix


@pytest.mark.parametrize("devices", [1, 8])
def test_padding_is_small_for_short_rows_too(devices: int) -> None:
    matrix = power_law(20_000, 10.0)
    rows, others = placements(matrix, devices)
    groups = pack(matrix, rows, others, 512, 32)
    assert padding(groups) <= 1.3
    assert all(sum(group.shape.widths) <= 1.2 * 512 for group in groups)


def test_a_row_longer_than_a_batch() -> None:
    matrix = sparse.csr_array(np.ones((1, 1000)))
    rows, others = placements(matrix, 2)
    groups = pack(matrix, rows, others, 8, 16)
    assert groups[0].shape.batches == 8
    assert np.array_equal(replay(groups, np.arange(1000.0)[:, None], rows, others), [[499_500.0]])
