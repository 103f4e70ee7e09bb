"""Codes from their SPECs: ``uncoded``, ``replicated:copies=3``, ``systematic:p=21``, ``entangled:h=6,points=circle``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from coded_als.checks import require_whole
from coded_als.codes.entangled_family import Entangled
from coded_als.codes.family import CODES, Code
from coded_als.errors import UsageError
from coded_als.specs import load_plugins, read_fields


def parse_code(spec: str) -> Code:
    """The code that a SPEC names; what it leaves out is chosen when the workers are known (`Code.at`).

    Raises
    ------
    UsageError
        For an unknown code, and for an unknown, missing or unreadable parameter.

    Examples
    --------
    >>> parse_code("entangled:p=20,r=2").spec
    'entangled:p=20,r=2'
    """
    name = spec.partition(":")[0].strip()
    if name not in CODES:
        load_plugins()
    if name not in CODES:
        raise UsageError(f"code must be one of {', '.join(CODES)}; got {name!r}. See --help for the parameters.")
    family = CODES[name]
    return family(**read_fields("code", spec, family, _value))


def choose_code(spec: str, partitions: int | None, workers: int, length: int) -> Code:
    """The code that a SPEC and a number of partitions ask for, tied to W workers and a square D of this length.

    Parameters
    ----------
    spec
        A SPEC, or ``"auto"``: the paper's code where partitions are given, else a systematic one.
    partitions
        h of the entangled code, for a SPEC that leaves it open.
    workers, length
        W, and min(rows, columns).

    Raises
    ------
    UsageError
        For a SPEC that cannot be read, partitions of another code, and a code that does not fit.
    """
    return with_partitions(spec, partitions).at(workers, length)


def with_partitions(spec: str, partitions: int | None) -> Code:
    """The code of a SPEC (``"auto"`` included) with the paper's h x h cut where partitions are given.

    Parameters
    ----------
    spec
        SPEC of a code.
    partitions
        h, or None for the SPEC as it is.
    """
    if partitions is None:
        return parse_code("systematic" if spec == "auto" else spec)
    require_whole("partitions", partitions, 1)
    code = parse_code("entangled" if spec == "auto" else spec)
    if not isinstance(code, Entangled) or code.fixed:
        raise UsageError(
            f"partitions are those of an entangled code without h, p and r; got code {spec!r}. Leave partitions out."
        )
    return replace(code, h=partitions)


def _value(key: str, text: str) -> Any:
    """Whole numbers and decimals as numbers, the rest as it stands; the code itself checks what it is given."""
    text = text.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)(e[+-]?\d+)?", text):
        return float(text)
    if not text:
        raise UsageError(f"{key} must have a value; got none. Write {key}=... in the code SPEC.")
    return text
