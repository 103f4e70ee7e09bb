"""The two smaller codes of an iteration: B^T C of two coded factors, and a factor scaled by a matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from coded_als.arrays import Array
from coded_als.codes.decoding import LinearCode
from coded_als.codes.partition import join
from coded_als.codes.points import EvaluationPoints, PointFamily


class InnerProductCode(LinearCode):
    """B^T C from the shares f_L(B) and f_R(C) of two matrices cut into h parts of rows (MatDot).

    At real points the responses f_L(B)^T f_R(C) are a polynomial with 2h - 1 coefficients, the wanted one in the
    middle. On the circle f_L is the conjugate of f_R up to a phase, and the real part of f_R(B)^H f_R(C) is

        B^T C + sum_{0<t<h} (terms of lag t and -t) cos(t theta):

    h unknowns and real responses, so half the multiplications of the complex product and a threshold of h.
    """

    def __init__(self, parts: int, workers: int, points: PointFamily = "circle") -> None:
        evaluation = EvaluationPoints(points, workers)
        if points == "circle":
            super().__init__(evaluation.powers(np.arange(parts))[:, :1], np.array([0]))
        else:
            super().__init__(evaluation.powers(np.arange(2 * parts - 1)), np.array([parts - 1]))

    def decode(self, responses: Mapping[int, Array], tolerance: float | None = None) -> Array:
        """B^T C from every response given: (1, b, c) each gives (b, c).

        Parameters
        ----------
        responses
            By worker, (1, b, c) each.
        tolerance
            Relative error that it may have; by default any.

        Returns
        -------
        (b, c).
        """
        return np.asarray(self.decode_blocks(responses, tolerance)[0])


class FactorCode(LinearCode):
    """A matrix from its own shares f_R (17, corrected) or f_L (16): plain interpolation of degree h - 1."""

    def __init__(self, parts: int, workers: int, points: PointFamily = "circle", *, side: str = "right") -> None:
        exponents = np.arange(parts) if side == "left" else np.arange(parts)[::-1]
        powers = EvaluationPoints(points, workers).powers(exponents)
        # a single part is real at every point, and sent as one plane
        super().__init__(powers[:, :1] if parts == 1 else powers, np.arange(parts))

    def decode(self, responses: Mapping[int, Array], shape: tuple[int, int], tolerance: float | None = None) -> Array:
        """The matrix of the given shape from every response given, each (planes, rows / h, columns).

        Parameters
        ----------
        responses
            By worker, (planes, rows / h, columns) each.
        shape
            Of the matrix.
        tolerance
            Relative error that it may have; by default any.

        Returns
        -------
        The matrix, of ``shape``.
        """
        return join(self.decode_blocks(responses, tolerance)[:, np.newaxis], shape)
