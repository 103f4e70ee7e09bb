"""Many small symmetric positive definite systems at once, in plain array operations.

A library's batched factorization on the CPU waits for threads of a pool that the devices themselves may hold, so that a
program with several devices on one machine can stop for ever behind a collective. Here are only products of matrices
and sums, in which no device waits; an accelerator is fast at these operations too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

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
