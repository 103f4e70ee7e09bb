"""Pure algebra: partitions, evaluation points, codes for products of matrices, decoding and its conditioning."""

from coded_als.codes.copies import Replicated, Uncoded
from coded_als.codes.decoding import Decoder, LinearCode
from coded_als.codes.encoding import encoded
from coded_als.codes.entangled import EntangledPolynomialCode
from coded_als.codes.entangled_family import Entangled
from coded_als.codes.factor_codes import FactorCode, InnerProductCode
from coded_als.codes.family import CODES, Code, register_code
from coded_als.codes.partition import join
from coded_als.codes.points import EvaluationPoints, PointFamily
from coded_als.codes.product import BlockCut, ProductCode
from coded_als.codes.replication import ReplicatedProduct
from coded_als.codes.spec import choose_code, parse_code, with_partitions
from coded_als.codes.systematic import SystematicCode
from coded_als.codes.systematic_family import Systematic
from coded_als.codes.thresholds import iteration_threshold, largest_partitions

__all__ = [
    "CODES",
    "BlockCut",
    "Code",
    "Decoder",
    "Entangled",
    "EntangledPolynomialCode",
    "EvaluationPoints",
    "FactorCode",
    "InnerProductCode",
    "LinearCode",
    "PointFamily",
    "ProductCode",
    "Replicated",
    "ReplicatedProduct",
    "Systematic",
    "SystematicCode",
    "Uncoded",
    "choose_code",
    "encoded",
    "iteration_threshold",
    "join",
    "largest_partitions",
    "parse_code",
    "register_code",
    "with_partitions",
]
