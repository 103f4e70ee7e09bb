"""Tests for a code of your own: invariants as functions, a search for the worst survivors, Hypothesis strategies.

`check_code` and the invariants need nothing beyond the package. The strategies are in `coded_als.testing.strategies`; they
need Hypothesis (``pip install 'coded-als[testing]'``).
"""

from coded_als.testing.checking import CodeReport, Violation, check_code
from coded_als.testing.invariants import (
    INVARIANTS,
    CodedTrial,
    decodes_within_the_estimate,
    has_the_announced_shapes,
    is_independent_of_the_order_of_arrival,
    is_linear,
    refuses_one_response_fewer,
    surplus_never_worsens_the_estimate,
)

__all__ = [
    "INVARIANTS",
    "CodeReport",
    "CodedTrial",
    "Violation",
    "check_code",
    "decodes_within_the_estimate",
    "has_the_announced_shapes",
    "is_independent_of_the_order_of_arrival",
    "is_linear",
    "refuses_one_response_fewer",
    "surplus_never_worsens_the_estimate",
]
