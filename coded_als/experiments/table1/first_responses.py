"""Decoding errors from random first responses."""

from __future__ import annotations

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import WellConditioned
from coded_als.cluster.inline import counted_workers
from coded_als.codes import EntangledPolynomialCode, PointFamily
from coded_als.experiments.table1.paper import PaperCell
from coded_als.experiments.table1.survival import ANY_ERROR, CIRCLE_TOLERANCE


def errors_of_first(cell: PaperCell, points: PointFamily, repeats: int, seed: int) -> tuple[float, float]:
    """Median estimated and actual relative errors of decoding E = D B from random first responses.

    Parameters
    ----------
    cell
        One row of the paper's table.
    points
        Where the code is evaluated.
    repeats
        Number of decodings.
    seed
        Of the matrices and of who responds first.
    """
    h = cell.partitions
    code = EntangledPolynomialCode(h, h, 1, cell.live, points)
    rng = np.random.default_rng([seed, h, cell.live])
    root, factor = rng.standard_normal((12 * h, 12 * h)), rng.standard_normal((12 * h, 10))
    data = root.T @ root
    left, right, exact = list(code.encode_left(data)), list(code.encode_right(factor)), data @ factor
    rule = WellConditioned(code, CIRCLE_TOLERANCE if points == "circle" else ANY_ERROR)
    estimated, actual = [], []
    for _ in range(repeats):
        workers = counted_workers(tuple(rng.permutation(cell.live).tolist()), rule)
        decoder = code.decoder(workers)
        responses = {worker: _multiply(left[worker], right[worker]) for worker in workers}
        found = code.decode(responses, exact.shape)
        estimated.append(decoder.error_estimate)
        actual.append(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
    return float(np.median(estimated)), float(np.median(actual))


def _multiply(left: Array, right: Array) -> Array:
    """The product of two shares, by complex arithmetic: (planes, a, b)."""
    if left.shape[0] == 1:
        return np.asarray(np.matmul(left[0], right[0])[np.newaxis])
    product = np.matmul(left[0] + 1j * left[1], right[0] + 1j * right[1])
    planes: Array = np.stack([product.real, product.imag])
    return planes
