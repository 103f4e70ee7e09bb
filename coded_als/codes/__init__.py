"""Pure algebra: partitions, evaluation points, codes for products of matrices, decoding and its conditioning."""

# codes are named, and tried, in the order of these imports: plain copies first
from coded_als.codes.replication import Replicated, ReplicatedProduct, Uncoded

# isort: split
from coded_als.codes.decoding import Decoder, LinearCode
from coded_als.codes.entangled import (
    Entangled,
    EntangledPolynomialCode,
    EvaluationPoints,
    FactorCode,
    InnerProductCode,
    PointFamily,
    iteration_threshold,
    largest_partitions,
)
from coded_als.codes.family import CODES, CodeSpec, asked_code, default_code, parse_code, register_code
from coded_als.codes.product import BlockCut, MatrixCode, encoded, join
from coded_als.codes.systematic import Systematic, SystematicCode

__all__ = [
    "CODES",
    "BlockCut",
    "CodeSpec",
    "Decoder",
    "Entangled",
    "EntangledPolynomialCode",
    "EvaluationPoints",
    "FactorCode",
    "InnerProductCode",
    "LinearCode",
    "MatrixCode",
    "PointFamily",
    "Replicated",
    "ReplicatedProduct",
    "Systematic",
    "SystematicCode",
    "Uncoded",
    "asked_code",
    "default_code",
    "encoded",
    "iteration_threshold",
    "join",
    "largest_partitions",
    "parse_code",
    "register_code",
]
