"""The best items for blocks of users, each device ranking its own part of the items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.top_n import columns_left_out, require_ranking, top_n
from coded_als.sharded.devices import AXIS, sharded

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# scores and the workspace that sorting them needs: bytes per user and item of a device
_BYTES_PER_SCORE = 16
# users of a block at most: more do not make a product faster
_USERS = 1024


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items on the devices, the first columns on the first device, so that equal scores go to the lower column."""

    mesh: Mesh  # the devices
    count: int  # items
    # (total, d) and (total,) float32, sharded; items that must not appear have a bias of minus infinity
    factors: Array
    biases: Array

    @classmethod
    def of(cls, mesh: Mesh, factors: Floats, biases: Floats | None, left_out: Integers) -> ItemTable:
        """Put factors (items, d) and biases (items,), if any, on the devices."""
        count, rank = factors.shape
        total = -(-count // mesh.size) * mesh.size
        table, offsets = np.zeros((total, rank), np.float32), np.full(total, -np.inf, np.float32)
        table[:count] = factors
        offsets[:count] = 0 if biases is None else biases
        offsets[left_out] = -np.inf
        return cls(mesh, count, *jax.device_put((table, offsets), sharded(mesh)))

    @property
    def height(self) -> int:
        """Items of each device."""
        return int(self.factors.shape[0]) // self.mesh.size


def best_on_devices(
    mesh: Mesh,
    user_factors: Floats,
    item_factors: Floats,
    n: int = 10,
    *,
    item_biases: Floats | None = None,
    seen: csr_array | None = None,
    exclude: Iterable[int] = (),
    memory_limit_bytes: int = 32 * 2**20,
    recall: float = 1.0,
) -> tuple[Integers, NDArray[np.float64]]:
    """`coded_als.models.top_n.recommend_batch` on devices, in float32: the best of each device, merged on the host.

    Columns and scores are (users, n), best first; -1 and minus infinity where fewer than n columns are left.

    A recall of 1 asks for the exact lists; less for approximate ones, which the accelerator finds sooner and which are
    expected to hold this share of the exact ones: Chern, Hechtman, Davis, Guo, Majnemer, Kumar, "TPU-KNN: K Nearest
    Neighbor Search at Peak FLOP/s" (2022). Where there is no such instruction, as on a CPU, the lists are exact all the same.
    """
    require_ranking(user_factors, item_factors, n, item_biases, seen)
    items = ItemTable.of(mesh, item_factors, item_biases, columns_left_out(exclude, len(item_factors)))
    block = min(int(memory_limit_bytes) // (_BYTES_PER_SCORE * max(items.height, 1)), _USERS)
    if block < 1:
        raise UsageError(
            f"memory_limit_bytes must be at least {_BYTES_PER_SCORE * items.height} for {items.height} items on each "
            f"device; got {memory_limit_bytes}. Raise it."
        )
    users = len(user_factors)
    block = min(block, _power_of_two(users))
    ids, best = np.empty((users, n), dtype=np.int64), np.empty((users, n))
    everywhere = NamedSharding(mesh, PartitionSpec())
    program = _program(mesh, min(n, items.height), recall)
    for rows, hidden in _blocks(seen, users, block, items):
        part = np.zeros((block, user_factors.shape[1]), np.float32)
        part[: rows.stop - rows.start] = user_factors[rows]
        found = program(jax.device_put(part, everywhere), items.factors, items.biases, hidden)
        columns, scores = (np.asarray(one)[: rows.stop - rows.start] for one in found)
        places, best[rows] = top_n(scores, n)
        ids[rows] = np.where(places < 0, -1, np.take_along_axis(columns, np.maximum(places, 0), axis=1))
    return ids, best


@lru_cache(maxsize=16)
def _program(mesh: Mesh, n: int, recall: float) -> Any:
    """The jitted ranking of one block: columns and scores (users, devices * n), device by device."""
    by_column = PartitionSpec(None, AXIS)
    local = jax.shard_map(
        partial(_best_of_device, n, recall),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(AXIS), PartitionSpec(AXIS)),
        out_specs=(by_column, by_column),
    )
    return jax.jit(local)


def _best_of_device(
    n: int, recall: float, users: Array, items: Array, biases: Array, hidden: Array
) -> tuple[Array, Array]:
    scores = jnp.matmul(users, items.T, precision="highest") + biases
    scores = scores.at[hidden[0, 0], hidden[0, 1]].set(-jnp.inf, mode="drop")
    if recall < 1:
        best, columns = lax.approx_max_k(scores, n, recall_target=recall)
    else:
        best, columns = lax.top_k(scores, n)
    return columns + lax.axis_index(AXIS) * items.shape[0], best


def _blocks(seen: csr_array | None, users: int, block: int, items: ItemTable) -> Iterator[tuple[slice, Array]]:
    """Rows of users, and the entries of each device that are hidden: (devices, 2, k) rows and columns, padded outside."""
    devices, height = items.mesh.size, items.height
    for start in range(0, users, block):
        rows = slice(start, min(start + block, users))
        row = column = np.empty(0, dtype=np.int64)
        if seen is not None:
            ends = seen.indptr[rows.start : rows.stop + 1]
            row = np.repeat(np.arange(rows.stop - rows.start), np.diff(ends))
            column = np.asarray(seen.indices[ends[0] : ends[-1]], dtype=np.int64)
        device = column // height
        order = np.argsort(device, kind="stable")
        counts = np.bincount(device, minlength=devices)
        place = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
        # few widths, since a program is compiled for each
        hidden = np.full((devices, 2, _power_of_two(int(counts.max()))), block, dtype=np.int32)
        hidden[device[order], 0, place] = row[order]
        hidden[device[order], 1, place] = column[order] % height
        yield rows, jax.device_put(hidden, sharded(items.mesh))


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()
