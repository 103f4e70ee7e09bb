"""A half-step of ALS on sharded tables as one compiled program: all rows of one side, the other side held fixed.

Every row x solves ``(G + sum y y^T + ridge diag(penalty)) x = sum b y`` over its entries, where the y are rows of the
fixed table and G = weight * (all rows)^T (all rows) is common to all. Sums and solutions are in float32 for tables of every type.

The systems are solved in plain products and sums, in which no device waits. A library's batched factorization on the CPU
waits for threads of a pool that the devices themselves may hold, so that a program with several devices on one machine
can stop for ever behind a collective; an accelerator is fast at these operations too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec

from coded_als.sharded.devices import AXIS
from coded_als.sharded.packing import BatchShape


class Operands(NamedTuple):
    """The input of a group of rows beside the tables, each array sharded by its first axis."""

    # as in `coded_als.sharded.packing.Batches`
    sends: Array
    entries: Array
    owners: Array
    carries: Array
    rows: Array
    ridge: Array  # (..., solved) of each finished row; 1 for padding
    targets: Array | None  # (..., slots) b of each entry, 0 for padding; None where all are 1


class Totals(NamedTuple):
    """Parts of the objective, one number for each group and batch; the caller sums them up in float64."""

    squares: Array  # sum of b^2
    explained: Array  # ``2 b.x - x.A x`` summed over rows
    penalised: Array  # ridge times the penalised squares of the new rows


@dataclass(frozen=True)
class Equations:
    """The equations of the rows of a side, and their solver."""

    rank: int  # factors d
    # whether a table has a bias in a column after the factors. Then the fixed table's is taken off the targets, and
    # counts as 1 in y.
    biases: bool = False
    weight: float = 0.0  # of all rows of the fixed table; 0 for none
    bias_penalty: float = 1.0  # weight of a squared bias beside a squared factor
    # ``cholesky``, or ``cg``: that many steps from where the rows are
    solver: str = "cholesky"
    cg_steps: int = 3


@lru_cache(maxsize=16)
def half_step(mesh: Mesh, shapes: tuple[BatchShape, ...], equations: Equations) -> Any:
    """The program of one side, to be compiled for its tables; once, however many fits have the same shapes.

    Returns A jitted function of the table to solve (its memory is given up), the fixed table and the `Operands` of
    each group, which returns the new table and the `Totals`.
    """
    sharded = PartitionSpec(AXIS)
    local = partial(_half_step, shapes, equations)
    program = jax.shard_map(local, mesh=mesh, in_specs=(sharded, sharded, sharded), out_specs=sharded)
    return jax.jit(program, donate_argnums=0)


def _half_step(
    shapes: Sequence[BatchShape], equations: Equations, table: Array, fixed: Array, groups: Sequence[Operands]
) -> tuple[Array, Totals]:
    """The part of one device, on its own shards."""
    with jax.default_matmul_precision("highest"):
        common = _common(equations, fixed)
        totals = []
        for shape, batches in zip(shapes, groups, strict=True):
            body = partial(_batch, shape, equations, fixed, common)
            (table, _), parts = lax.scan(body, (table, _nothing_open(table.shape[1])), batches)
            totals.append(parts)
        return table, jax.tree.map(lambda *parts: jnp.concatenate(parts), *totals)


def _nothing_open(width: int) -> tuple[Array, Array]:
    """The sums of a row that goes on in the next batch, before the first."""
    zeros = jnp.zeros((width, width)), jnp.zeros(width)
    return jax.tree.map(lambda array: lax.pcast(array, AXIS, to="varying"), zeros)


def _common(equations: Equations, fixed: Array) -> Array:
    """G without the ridge; zero where no weight is on all pairs."""
    width = fixed.shape[1]
    if not equations.weight:
        return jnp.zeros((width, width))
    rows = fixed.astype(jnp.float32)
    return equations.weight * lax.psum(rows.T @ rows, AXIS)


def _batch(
    shape: BatchShape,
    equations: Equations,
    fixed: Array,
    common: Array,
    state: tuple[Array, tuple[Array, Array]],
    batch: Operands,
) -> tuple[tuple[Array, tuple[Array, Array]], Totals]:
    """Fetch the rows that a batch needs, sum up, solve finished rows, and carry the open row on."""
    table, (open_gram, open_right) = state
    factors = _fetch(fixed, batch.sends, batch.entries)
    valid = (batch.entries < shape.devices * shape.sent).astype(jnp.float32)
    target = valid if batch.targets is None else batch.targets
    if equations.biases:
        target = target - factors[:, equations.rank] * valid
        factors = factors.at[:, equations.rank].set(valid)
    grams, rights = _sums(shape, factors, target, batch.owners)
    grams, rights = grams.at[batch.carries].add(open_gram), rights.at[batch.carries].add(open_right)
    penalty = batch.ridge[:, None] * _penalty(equations, table.shape[1])
    matrices = grams[:-1] + common + penalty[:, :, None] * jnp.eye(table.shape[1])
    before = table.at[batch.rows].get(mode="fill", fill_value=0).astype(jnp.float32)
    after = _solve(equations, matrices, rights[:-1], before).astype(table.dtype)
    table = table.at[batch.rows].set(after, mode="drop")
    # as they are stored, so that the objective is that of the stored rows
    stored = after.astype(jnp.float32)
    totals = Totals(
        _total(target * target),
        _total(stored * (2 * rights[:-1] - multiply(matrices, stored))),
        _total(penalty * stored * stored),
    )
    return (table, (grams[-1], rights[-1])), totals


def _fetch(fixed: Array, sends: Array, entries: Array) -> Array:
    """Rows of the sharded table for every entry, (slots, width) float32; padding gives zeros."""
    # as plain bits: a backend without bfloat16 collectives would widen them, and send twice as much
    bits = jnp.uint16 if fixed.dtype == jnp.bfloat16 else jnp.uint32
    sent = lax.bitcast_convert_type(fixed[sends], bits)
    received = lax.all_to_all(sent, AXIS, split_axis=0, concat_axis=0, tiled=True)
    pool = lax.bitcast_convert_type(received, fixed.dtype).reshape(-1, fixed.shape[1])
    return pool.at[entries].get(mode="fill", fill_value=0).astype(jnp.float32)


def _sums(shape: BatchShape, factors: Array, target: Array, owners: Array) -> tuple[Array, Array]:
    """Gram matrices and right-hand sides of the finished rows and, last, of the open one."""
    width = factors.shape[1]
    grams, rights = jnp.zeros((shape.solved + 1, width, width)), jnp.zeros((shape.solved + 1, width))
    slot = piece = 0
    for length, count in zip(shape.lengths, shape.widths, strict=True):
        part = factors[slot : slot + length * count].reshape(count, length, width)
        asked = target[slot : slot + length * count].reshape(count, 1, length)
        owner = owners[piece : piece + count]
        grams = grams + jax.ops.segment_sum(jnp.swapaxes(part, 1, 2) @ part, owner, shape.solved + 1)
        rights = rights + jax.ops.segment_sum((asked @ part)[:, 0], owner, shape.solved + 1)
        slot, piece = slot + length * count, piece + count
    return grams, rights


def _solve(equations: Equations, matrices: Array, right: Array, before: Array) -> Array:
    if equations.solver == "cg":
        return solve_conjugate_gradients(matrices, right, before, equations.cg_steps)
    solution, solved = solve_cholesky(matrices, right)
    return jnp.where(solved[:, None], solution, before)


def _penalty(equations: Equations, width: int) -> Array:
    return jnp.where(jnp.arange(width) < equations.rank, 1.0, equations.bias_penalty)


def _total(values: Array) -> Array:
    """The sum by halves: its error grows with the logarithm of the count, not with the count."""
    values = values.reshape(-1)
    while values.size > 1:
        if values.size % 2:
            values = jnp.append(values, 0.0)
        values = values[: values.size // 2] + values[values.size // 2 :]
    return values[0]


# Order of the matrices that are eliminated column by column; larger ones are cut in blocks.
_COLUMNS = 8
# At most about so many blocks, however large the matrix: each one is compiled.
_BLOCKS = 8


def solve_cholesky(matrices: Array, right: Array) -> tuple[Array, Array]:
    """Solutions (s, d) of positive definite systems (s, d, d) with (s, d), by Cholesky factors; and which had one, (s,).

    A matrix has none where it is not positive definite in this precision.
    """
    order = matrices.shape[-1]
    block = _COLUMNS
    while order > _BLOCKS * block:
        block *= 2
    rest, unknown = matrices, right[..., None]
    factors, forward = [], []
    for first in range(0, order, block):
        size = min(block, order - first)
        inverse = inverse_factor(rest[:, :size, :size])
        panel = rest[:, size:, :size] @ _transposed(inverse)
        step = inverse @ unknown[:, :size]
        factors.append((inverse, panel))
        forward.append(step)
        if first + size < order:
            rest = rest[:, size:, size:] - panel @ _transposed(panel)
            unknown = unknown[:, size:] - panel @ step
    solution = right[:, :0, None]
    for (inverse, panel), step in zip(reversed(factors), reversed(forward), strict=True):
        top = _transposed(inverse) @ (step - _transposed(panel) @ solution)
        solution = jnp.concatenate([top, solution], axis=1)
    return solution[..., 0], jnp.isfinite(solution).all(axis=(1, 2))


def inverse_factor(matrices: Array) -> Array:
    """L^-1 of every ``A = L L^T``, (s, d, d); not a number where A is not positive definite."""
    order = matrices.shape[-1]
    if order <= _COLUMNS:
        return _eliminate(matrices)
    half = order // 2
    upper = inverse_factor(matrices[:, :half, :half])
    panel = matrices[:, half:, :half] @ _transposed(upper)
    lower = inverse_factor(matrices[:, half:, half:] - panel @ _transposed(panel))
    corner = -(lower @ panel) @ upper
    zeros = jnp.zeros((matrices.shape[0], half, order - half), matrices.dtype)
    return jnp.concatenate([jnp.concatenate([upper, zeros], axis=2), jnp.concatenate([corner, lower], axis=2)], axis=1)


def _eliminate(matrices: Array) -> Array:
    """`inverse_factor` by Gaussian elimination of [A | I]; its pivots are the squared diagonal of the Cholesky factor."""
    order = matrices.shape[-1]
    identity = jnp.broadcast_to(jnp.eye(order, dtype=matrices.dtype), matrices.shape)
    below = jnp.arange(order)

    def column(k: Array, table: Array) -> Array:
        row = lax.dynamic_index_in_dim(table, k, 1)
        # the root of a negative pivot is not a number, and that spreads
        row = row / jnp.sqrt(lax.dynamic_index_in_dim(row, k, 2))
        multipliers = jnp.where(below > k, row[:, 0, :order], 0)
        return lax.dynamic_update_slice_in_dim(table - multipliers[:, :, None] * row, row, k, 1)

    table = lax.fori_loop(0, order, column, jnp.concatenate([matrices, identity], axis=2))
    return table[:, :, order:]


def solve_conjugate_gradients(matrices: Array, right: Array, start: Array, steps: int) -> Array:
    """Solutions (s, d) of positive definite systems (s, d, d) with (s, d), improved from ``start`` by steps of conjugate gradients."""
    residual = right - multiply(matrices, start)

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        solution, residual, direction, square = state
        image = multiply(matrices, direction)
        length = _ratio(square, (direction * image).sum(axis=1))[:, None]
        residual = residual - length * image
        following = (residual * residual).sum(axis=1)
        return (
            solution + length * direction,
            residual,
            residual + _ratio(following, square)[:, None] * direction,
            following,
        )

    state = (start, residual, residual, (residual * residual).sum(axis=1))
    return jax.lax.fori_loop(0, steps, step, state)[0]


def multiply(matrices: Array, vectors: Array) -> Array:
    """Products (s, d) of (s, d, d) with (s, d)."""
    return (matrices @ vectors[..., None])[..., 0]


def _ratio(above: Array, below: Array) -> Array:
    """The quotient, and 0 where nothing positive is left to divide by."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0)


def _transposed(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, 1, 2)
