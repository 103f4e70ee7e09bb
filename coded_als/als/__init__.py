"""The pure algorithm: update rules, the three phases and stopping; it talks only to the Cluster seam."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily

_HOMES = {
    "CodedALS": "coded_als.als.estimator",
    "CodedIteration": "coded_als.als.history",
    "CodedOperator": "coded_als.als.operator",
    "RoundRecord": "coded_als.als.products",
}
__all__ = ["CodedALS", "CodedIteration", "CodedOperator", "RoundRecord"]

if TYPE_CHECKING:
    from coded_als.als.estimator import CodedALS
    from coded_als.als.history import CodedIteration
    from coded_als.als.operator import CodedOperator
    from coded_als.als.products import RoundRecord

__getattr__ = lazily(__name__, _HOMES)
