"""The paper's alternating least squares in its direct form (12)."""

from __future__ import annotations

from coded_als.als.history import Recorder
from coded_als.als.sweeps import Sweeps
from coded_als.als.updates import objective
from coded_als.arrays import Array


def alternating(sweeps: Sweeps, trace: float, regularization: float, iterations: int, recorder: Recorder) -> Array:
    """B <- E (S^-1 M + lam S)^-1 until the objective has converged (12).

    Parameters
    ----------
    sweeps
        Computes the products, from a start of its own.
    trace
        tr D.
    regularization
        Ridge weight lam.
    iterations
        The most iterations to run.
    recorder
        Keeps the history and the state, and decides when to stop.

    Returns
    -------
    (l, d): an orthonormal basis of the factor that was found good enough, or of the last one.

    Raises
    ------
    UsageError
        In the paper's protocol without regularisation, if the rank asked for is above that of the data.
    """
    recorder.resumed(sweeps.go_on)
    for _ in range(len(recorder.history), iterations):
        recorder.keep(**sweeps.state())
        products = sweeps.products()
        factor = sweeps.update(regularization, recorder.error_estimate)
        # without a ridge weight the objective is that of the span
        ridged = None
        if regularization > 0:
            ridged = objective(trace, products.pairs.values, products.coordinates, regularization)
        if recorder.finish(products.pairs, factor, ridged, exhausted=products.pairs.values.size == factor.shape[0]):
            return sweeps.basis(judged=True)
    return sweeps.basis(judged=False)
