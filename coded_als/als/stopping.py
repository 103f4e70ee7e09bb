"""When an iteration has converged: the relative error that is left, extrapolated from the objective's changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A change is only as good as the rate at which changes shrink; the worse of the last two rates is believed.
SLOWEST_RATE = 0.999


def remaining_error(objectives: Sequence[float], scale: float) -> float:
    """Estimated relative distance of the last objective from its limit.

    With changes c_t that shrink by a rate rho, c rho / (1 - rho) is still to come: a plain relative change
    stops ALS far too early, because its changes shrink slowly.

    Parameters
    ----------
    objectives
        One per iteration so far.
    scale
        tr D. The objective is a difference of numbers of this size, so changes below its rounding are zero.

    Returns
    -------
    Infinite before three iterations.
    """
    if len(objectives) < 3:
        return np.inf
    last = np.asarray(objectives[-4:], dtype=np.float64)
    changes = np.abs(np.diff(last))
    rounding = 16 * float(np.finfo(np.float64).eps) * scale
    reference = max(abs(last[-1]), rounding)
    if changes[-1] <= rounding:
        return float(changes[-1] / scale)
    rates = changes[1:] / np.maximum(changes[:-1], np.finfo(np.float64).tiny)
    rate = min(float(rates.max()), SLOWEST_RATE)
    return float(changes[-1] * rate / (1 - rate) / reference)
