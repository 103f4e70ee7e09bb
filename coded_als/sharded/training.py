"""Sparse rows and factor tables on devices, ready for epochs of ALS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from numpy.typing import NDArray
from scipy import sparse

from coded_als.sharded.devices import sharded
from coded_als.sharded.half_step import Equations, Operands, Totals, half_step
from coded_als.sharded.objectives import Objective
from coded_als.sharded.packing import Batches, BatchShape, pack, padding
from coded_als.sharded.placement import Placement, deal

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Side:
    """One side, on the devices.

    Parameters
    ----------
    placement
        Where its rows are.
    shapes, padding
        Sizes of its batches, group by group, and their room for entries over entries.
    operands
        What its half-steps read.
    program
        The compiled half-step.
    """

    placement: Placement
    shapes: tuple[BatchShape, ...]
    padding: float
    operands: Operands
    program: Any

    def half_step(self, table: Array, fixed: Array) -> tuple[Array, Totals]:
        """The new table and parts of the objective; the memory of the old table is given up."""
        result: tuple[Array, Totals] = self.program(table, fixed, self.operands)
        return result


class Training:
    """Alternating half-steps on one matrix: items, then users, as in the models of `coded_als.baselines`.

    Parameters
    ----------
    matrix
        (users, items) in canonical form, the mean taken off.
    objective, equations
        What is minimised, and how rows are solved.
    mesh
        The devices.
    dtype
        Of the tables.
    pieces, length
        As in `coded_als.sharded.packing.pack`.
    """

    def __init__(
        self,
        matrix: sparse.csr_array,
        objective: Objective,
        equations: Equations,
        mesh: Mesh,
        dtype: str,
        pieces: int,
        length: int,
    ) -> None:
        self.mesh, self.dtype, self.width = mesh, jnp.dtype(dtype), equations.rank + equations.biases
        flipped = sparse.csr_array(matrix.T.tocsr())
        user_rows, item_rows = (deal(np.diff(side.indptr), mesh.size) for side in (matrix, flipped))
        self.items = self._side(flipped, item_rows, user_rows, objective, equations, pieces, length)
        self.users = self._side(matrix, user_rows, item_rows, objective, equations, pieces, length)

    def epoch(self, users: Array, items: Array) -> tuple[Array, Array, float]:
        """New users, new items, and the objective at them."""
        items, of_items = self.items.half_step(items, users)
        users, of_users = self.users.half_step(users, items)
        return users, items, _sum(of_users.squares) - _sum(of_users.explained) + _sum(of_items.penalised)

    def put(self, side: Side, rows: Floats) -> Array:
        """A table on the devices, from its rows (rows, width)."""
        placed = side.placement.spread(np.asarray(rows, dtype=self.dtype))
        return jax.device_put(placed, sharded(self.mesh))

    def get(self, side: Side, table: Array) -> NDArray[np.float32]:
        """The rows of a table, (rows, width)."""
        return side.placement.collect(np.asarray(table)).astype(np.float32)

    def _side(
        self,
        matrix: sparse.csr_array,
        rows: Placement,
        others: Placement,
        objective: Objective,
        equations: Equations,
        pieces: int,
        length: int,
    ) -> Side:
        groups = pack(matrix, rows, others, pieces, length)
        lengths = np.diff(matrix.indptr)
        ridge = objective.ridge(lengths, others.rows).astype(np.float32)
        targets = objective.targets(matrix.data)
        used = rows.spread((lengths > 0).astype(np.int8))
        arrays = tuple(_arrays(batches, ridge, targets) for batches in groups)
        operands = Operands(*jax.device_put((used, arrays), sharded(self.mesh)))
        tables = [
            jax.ShapeDtypeStruct((place.total, self.width), self.dtype, sharding=sharded(self.mesh))
            for place in (rows, others)
        ]
        shapes = tuple(batches.shape for batches in groups)
        program = half_step(self.mesh, shapes, equations).lower(*tables, operands).compile()
        return Side(rows, shapes, padding(groups), operands, program)


def _arrays(batches: Batches, ridge: Floats, targets: Floats | None) -> tuple[NDArray[Any], ...]:
    """A group of `Operands`."""
    arrays = (batches.sends, batches.entries, batches.owners, batches.carries, batches.rows)
    ridges = np.where(batches.numbers < 0, np.float32(1), ridge[batches.numbers])
    if targets is None:
        return (*arrays, ridges)
    return (*arrays, ridges, np.where(batches.order < 0, np.float32(0), targets.astype(np.float32)[batches.order]))


def _sum(values: Array) -> float:
    return float(np.asarray(values, dtype=np.float64).sum())
