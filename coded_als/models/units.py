"""Units in which the squares of ratings neither overflow nor vanish."""

from __future__ import annotations

import math


def power_of_four(size: float) -> float:
    """The largest power of four that is at most ``size``; 1 for zero.

    Dividing by it, or by its root, changes no digit.
    """
    if size == 0:
        return 1.0
    _, exponent = math.frexp(size)
    return math.ldexp(1.0, (exponent - 1) // 2 * 2)
