"""What parameters promise of accuracy, and what a fit tells of it."""

from __future__ import annotations

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator, InlineCluster
from coded_als.codes import choose_code
from coded_als.errors import DecodingError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("spec", "documented"),
    [("systematic", 1e-11), ("entangled:h=6", 1e-12), ("entangled:h=2,points=real", 1e-8), ("replicated", 1e-12)],
)
def test_products_are_decoded_to_what_is_documented(spec: str, documented: float) -> None:
    assert choose_code(spec, None, 30, 600).tolerance == documented


def test_rounds_on_the_circle_wait_for_the_responses_that_their_tolerance_needs() -> None:
    operator = CodedOperator(
        RNG.standard_normal((12, 12)), InlineCluster(30, "exp:mean=1ms", seed=1), code="entangled:h=6"
    )
    for _ in range(12):
        operator @ np.ones(12)
    assert max(record.error_estimate for record in operator.rounds) <= 1e-12
    # four of these twelve need more than the threshold of 21
    assert {record.responses for record in operator.rounds} > {21}


def test_an_operator_keeps_to_the_tolerance_that_it_is_given() -> None:
    matrix, spec = RNG.standard_normal((12, 12)), "entangled:h=3,points=real"

    def responses(tolerance: float) -> int:
        operator = CodedOperator(matrix, InlineCluster(16, "exp:mean=1ms"), code=spec, decoding_tolerance=tolerance)
        operator @ np.ones(12)
        [record] = operator.rounds
        assert record.error_estimate <= tolerance
        return record.responses

    assert responses(1e-3) < responses(3e-12)
    with pytest.raises(DecodingError):
        responses(1e-20)


def test_each_iteration_tells_the_error_of_its_own_rounds() -> None:
    ratings = RNG.standard_normal((40, 30))
    model = CodedALS(3, partitions=3, precomputation="local").fit(ratings, InlineCluster(12, "exp:mean=1ms"))
    told = [entry.error_estimate for entry in model.history_]
    assert told == [record.error_estimate for record in model.rounds_ if record.label == "E = D X"][: len(told)]
    assert min(told) > 1e-16
    assert len(set(told)) > 1


@pytest.mark.parametrize(("side", "coded"), [(60, False), (1000, True)])
def test_the_gram_matrix_is_computed_where_counting_says(side: int, coded: bool) -> None:
    ratings = RNG.standard_normal((side, side))
    model = CodedALS(2, iterations=1).fit(ratings, InlineCluster(4))
    assert ("D = A^T A" in {record.label for record in model.rounds_}) == coded
