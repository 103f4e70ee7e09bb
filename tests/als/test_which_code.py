"""Which code a fit uses: the one asked for, the paper's with partitions or its protocol, a systematic one else."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator, InlineCluster
from coded_als.codes import Systematic, parse_code
from coded_als.errors import UsageError

CASES = [
    ({}, "systematic:p=9"),
    ({"partitions": 2}, "entangled:h=2"),
    ({"code": "entangled:points=real", "partitions": 2}, "entangled:h=2,points=real"),
    ({"protocol": "paper", "solver": "als"}, "entangled:h=3"),
    ({"protocol": "paper", "solver": "als", "partitions": 2}, "entangled:h=2"),
    ({"code": "systematic:p=5"}, "systematic:p=5"),
    ({"code": "entangled:p=8,r=1"}, "entangled:p=8,r=1"),
    ({"code": "replicated:copies=3"}, "replicated:copies=3"),
]


@pytest.mark.parametrize(("parameters", "spec"), CASES)
def test_a_fit_uses_the_code_it_is_asked_for(parameters, spec):
    ratings = np.random.default_rng(0).standard_normal((20, 15))
    model = CodedALS(2, **parameters)
    assert model.fit(ratings, InlineCluster(12)).code_ == spec


@pytest.mark.parametrize("spec", [spec for _, spec in CASES])
def test_an_operator_multiplies_in_any_code(spec):
    matrix = np.random.default_rng(1).standard_normal((15, 15))
    operator = CodedOperator(matrix, InlineCluster(12), code=spec)
    assert operator.rounds == []
    np.testing.assert_allclose(operator @ np.ones((15, 2)), matrix @ np.ones((15, 2)), atol=1e-7)
    assert operator.rounds[0].responses >= parse_code(spec).threshold(12)


def test_a_fit_takes_a_spread_that_was_planned_and_plans_no_other() -> None:
    matrix, model = np.random.default_rng(0).standard_normal((20, 12)), CodedALS(2)
    planned = replace(model.plan(matrix, 6), code=Systematic(3))
    with patch.object(CodedALS, "_spread", side_effect=AssertionError("planned twice")):
        model.fit(matrix, InlineCluster(6), spread=planned)
    assert (model.code_, model.converged_) == ("systematic:p=3", True)
    with pytest.raises(UsageError, match="cluster must be the one that the spread is planned for; got none"):
        model.fit(matrix, spread=planned)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"rank": 15, "solver": "lobpcg"},
            "spread must be planned for this matrix and rank 15; got one for blocks of 10 columns",
        ),
        ({"rank": 41, "solver": "krylov"}, "spread must be planned for this matrix and rank 41"),
        ({"rank": 0}, "rank must be"),
        ({"tolerance": -1.0}, "tolerance must be"),
        ({"solver": "another"}, "solver must be"),
    ],
)
def test_a_spread_of_another_plan_and_wrong_parameters_are_refused(changed, message):
    ratings = np.random.default_rng(0).standard_normal((60, 40))
    spread = CodedALS(5, solver="lobpcg").plan(ratings, 8)
    with pytest.raises(UsageError, match=message):
        CodedALS(**{"rank": 5, **changed}).fit(ratings, InlineCluster(8), spread=spread)
