"""Sparse rows and factor tables on devices, ready for epochs of ALS."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Floats
from coded_als.sharded.devices import sharded
from coded_als.sharded.equations import Equations, Operands, half_step
from coded_als.sharded.objectives import Objective
from coded_als.sharded.packing import Batches, BatchShape, Placement, deal_to_devices, pack, padding


@dataclass(frozen=True, eq=False)
class Side:
    """One side, on the devices."""

    placement: Placement  # where its rows are
    # sizes of its batches, group by group, and their room for entries over entries
    shapes: tuple[BatchShape, ...]
    padding: float
    operands: tuple[Operands, ...]  # input of its half-steps, group by group


@dataclass(frozen=True)
class Layout:
    """The memory and the exchange of a fit on each device, in bytes."""

    devices: int  # N
    padding: tuple[float, float]  # room for entries over entries, users' and items' side
    tables: int  # bytes of a device's shards of both tables
    batches: int  # bytes of its batches
    exchanged: int  # bytes that it hands to the others, itself included, in one epoch; docs/sharded.md has the formula


class Training:
    """Alternating half-steps on one matrix: items, then users, as in the models of `coded_als.baselines`.

    ``matrix``: (users, items) in canonical form, in the units of the objective; ``objective, equations``: the function
    to minimise, and the equations of its rows; ``mesh``: the devices; ``dtype``: of the tables; ``pieces, length``: as
    in `coded_als.sharded.packing.pack`.
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
        self.equations = equations
        flipped = sparse.csr_array(matrix.T.tocsr())
        user_rows, item_rows = (deal_to_devices(np.diff(side.indptr), mesh.size) for side in (matrix, flipped))

        def side(entries: sparse.csr_array, rows: Placement, others: Placement) -> Side:
            groups = pack(entries, rows, others, pieces, length)
            operands = tuple(self._operands(batches, entries, objective, others.rows) for batches in groups)
            shapes = tuple(batches.shape for batches in groups)
            return Side(rows, shapes, padding(groups), operands)

        self.users, self.items = side(matrix, user_rows, item_rows), side(flipped, item_rows, user_rows)

    def compiled(self) -> Self:
        """Compile the half-steps of the users and of the items, ``programs``, and return this."""

        def program(side: Side, other: Side) -> Any:
            tables = self._table(side.placement), self._table(other.placement)
            return half_step(self.mesh, side.shapes, self.equations).lower(*tables, side.operands).compile()

        # compiling one takes seconds, and does not hold the interpreter
        with ThreadPoolExecutor(2) as pool:
            self.programs = tuple(pool.map(program, (self.users, self.items), (self.items, self.users)))
        return self

    def epoch(self, users: Array, items: Array) -> tuple[Array, Array, float]:
        """New users and items, (rows, width) each, and the objective at them; the memory of the old ones is given up.

        The objective is a difference of sums, which float32 has to 1e-6; it is at least its ridge term.
        """
        step_users, step_items = self.programs
        items, of_items = step_items(items, users, self.items.operands)
        users, of_users = step_users(users, items, self.users.operands)
        penalty = _sum(of_items.penalised)
        objective = _sum(of_users.squares) - _sum(of_users.explained) + penalty
        return users, items, max(objective, penalty + _sum(of_users.penalised))

    @property
    def layout(self) -> Layout:
        """The memory and the exchange of each device."""
        sides, item_size = (self.users, self.items), self.dtype.itemsize
        devices = self.mesh.size
        rows_sent = sum(shape.batches * shape.devices * shape.sent for side in sides for shape in side.shapes)
        gram = 4 * self.width**2 if self.equations.weight else 0
        return Layout(
            devices=devices,
            padding=(self.users.padding, self.items.padding),
            tables=sum(side.placement.height for side in sides) * self.width * item_size,
            batches=sum(array.nbytes for side in sides for array in jax.tree.leaves(side.operands)) // devices,
            exchanged=rows_sent * self.width * item_size + 2 * gram if devices > 1 else 0,
        )

    def put(self, side: Side, rows: Floats) -> Array:
        """A table on the devices, from its rows (rows, width)."""
        placed = side.placement.spread(np.asarray(rows, dtype=self.dtype))
        return jax.device_put(placed, sharded(self.mesh))

    def get(self, side: Side, table: Array) -> NDArray[np.float32]:
        """The rows of a table, (rows, width)."""
        return side.placement.collect(np.asarray(table)).astype(np.float32)

    def _table(self, rows: Placement) -> Any:
        return jax.ShapeDtypeStruct((rows.total, self.width), self.dtype, sharding=sharded(self.mesh))

    def _operands(self, batches: Batches, matrix: sparse.csr_array, objective: Objective, others: int) -> Operands:
        ridge = objective.ridge(np.diff(matrix.indptr), others).astype(np.float32)
        targets = objective.targets(matrix.data.astype(np.float32))
        arrays = (
            batches.sends,
            batches.entries,
            batches.owners,
            batches.carries,
            batches.rows,
            np.where(batches.numbers < 0, np.float32(1), ridge[batches.numbers]),
            None if targets is None else np.where(batches.order < 0, np.float32(0), targets[batches.order]),
        )
        return Operands(*jax.device_put(arrays, sharded(self.mesh)))


def _sum(values: Array) -> float:
    return float(np.asarray(values, dtype=np.float64).sum())
