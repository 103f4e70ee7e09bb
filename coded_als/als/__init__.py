"""The pure algorithm: update rules, the three phases and stopping; it talks only to the `Cluster` interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

_HOMES = {
    "coded_als.als.estimator": "CodedALS",
    "coded_als.als.history": "CodedIteration",
    "coded_als.als.operator": "CodedOperator",
    "coded_als.als.products": "RoundRecord",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.als.estimator import CodedALS as CodedALS
    from coded_als.als.history import CodedIteration as CodedIteration
    from coded_als.als.operator import CodedOperator as CodedOperator
    from coded_als.als.products import RoundRecord as RoundRecord

__getattr__ = lazily(__name__, _HOMES)
