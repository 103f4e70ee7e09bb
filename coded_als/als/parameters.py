"""Input validation for `CodedALS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from coded_als.als.phases import Where
from coded_als.als.transforms import Weighting
from coded_als.checks import require_number, require_one_of, require_whole
from coded_als.cluster.verification import VERIFY
from coded_als.errors import UsageError

ProtocolName = Literal["fused", "paper"]
Solver = Literal["lobpcg", "als"]
# What may differ when a fit goes on from a checkpoint: how long it may take, and how its products are computed.
FREE = ("iterations", "code", "partitions", "precomputation", "decoding_tolerance", "verify")


def check_parameters(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless the parameters are what they may be, whatever the matrix.

    Codes are checked where they meet the workers (`coded_als.codes.choose_code`).
    """
    choices = {
        "protocol": get_args(ProtocolName),
        "solver": get_args(Solver),
        "precomputation": get_args(Where),
        "weighting": get_args(Weighting),
        "verify": VERIFY,
    }
    for name, allowed in choices.items():
        require_one_of(name, given[name], allowed)
    if given["protocol"] == "paper" and given["solver"] != "als":
        raise UsageError(
            f"protocol 'paper' is defined for solver 'als'; got {given['solver']!r}. "
            "Use protocol='fused' or solver='als'."
        )
    for name in ("rank", "iterations"):
        require_whole(name, given[name], 1)
    require_whole("seed", given["seed"], 0)
    for name in ("regularization", "tolerance"):
        require_number(name, given[name])
    if given["decoding_tolerance"] is not None:
        require_number("decoding_tolerance", given["decoding_tolerance"])
