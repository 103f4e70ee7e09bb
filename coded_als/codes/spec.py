"""Codes from their SPECs: ``uncoded``, ``replicated:copies=3``, ``systematic:p=21``, ``entangled:h=6,points=circle``."""

from __future__ import annotations

import re
from typing import Any

from coded_als.codes.families import CODES, Code
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
