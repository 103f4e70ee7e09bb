"""Numbers as people read them: on axes, in tables and in sentences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits: ``190``, ``0.0031``, ``2.5e-7``; never ``1.9e+02``.

    Parameters
    ----------
    value
        Any number.
    digits
        Significant digits.

    Examples
    --------
    >>> plain(190.4, 2), plain(0.00312), plain(2.51e-7, 2), plain(46125000.0)
    ('190', '0.00312', '2.5e-7', '4.61e7')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 10**6:
        return np.format_float_positional(float(f"{value:.{digits - 1}e}"), trim="-")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def axis_number(value: float, _position: Any = None) -> str:
    """``value`` beside an axis: ``0.02``, ``1500``, ``10⁻⁹``, ``2·10⁷``.

    Parameters
    ----------
    value
        To be written.
    _position
        As Matplotlib passes it; ignored.

    Examples
    --------
    >>> axis_number(0.02), axis_number(1500.0), axis_number(1e-9), axis_number(2e7)
    ('0.02', '1500', '10⁻⁹', '2·10⁷')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}".replace("-", "−")
    return power_of_ten(value)


def power_of_ten(value: float, _position: Any = None) -> str:
    """A positive ``value`` as a power of ten, for axes of many decades.

    Parameters
    ----------
    value
        To be written.
    _position
        As Matplotlib passes it; ignored.

    Examples
    --------
    >>> power_of_ten(0.01), power_of_ten(2e7)
    ('10⁻²', '2·10⁷')
    """
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def memory(count: float) -> str:
    """Bytes in a unit that fits.

    Examples
    --------
    >>> memory(4_092_000)
    '4.09 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{plain(count)} {unit}"
        count /= 1000
    raise AssertionError
