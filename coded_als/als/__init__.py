"""The pure algorithm: update rules, the three phases and stopping; it talks only to the Cluster seam."""

from coded_als.als.estimator import CodedALS
from coded_als.als.history import CodedIteration
from coded_als.als.operator import CodedOperator
from coded_als.als.parameters import Solver
from coded_als.als.rounds import RoundRecord

__all__ = ["CodedALS", "CodedIteration", "CodedOperator", "RoundRecord", "Solver"]
