"""`ShardedALS` where no device is needed: what it refuses, and what importing it brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coded_als import ShardedALS, UsageError
from coded_als.sharded.objectives import descended


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rank": 0}, "rank must be a whole number of at least 1; got 0"),
        ({"iterations": True}, "iterations must be"),
        ({"regularization": 0}, "regularization must be a number > 0"),
        ({"loss": "hinge"}, "loss must be one of implicit, explicit; got 'hinge'"),
        ({"solver": "lu"}, "solver must be one of cholesky, cg"),
        ({"table_dtype": "float16"}, "table_dtype must be one of float32, bfloat16"),
        ({"devices": 0}, "devices must be a whole number of at least 1"),
        ({"batch_pieces": 8}, "batch_pieces must be a whole number of at least 16"),
        ({"piece_length": 1.5}, "piece_length must be"),
        ({"cg_steps": 0}, "cg_steps must be"),
        ({"seed": -1}, "seed must be"),
        ({"biases": True}, "biases must be left out with loss='implicit'; got True"),
        ({"loss": "explicit", "unobserved_weight": 0.1}, "unobserved_weight must be left out with loss='explicit'"),
        ({"unobserved_weight": 0}, "unobserved_weight must be a number > 0"),
        ({"frequency_exponent": float("nan")}, "frequency_exponent must be a number"),
        ({"loss": "explicit", "regularization_scaling": "all"}, "regularization_scaling must be one of none, count"),
        ({"loss": "explicit", "bias_regularization": -1}, "bias_regularization must be a number > 0"),
    ],
)
def test_what_is_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ShardedALS(**parameters)
    assert message in str(caught.value)


def test_nothing_is_used_before_it_is_fitted() -> None:
    for call in (lambda model: model.recommend(0), lambda model: model.fold_in({0: 1.0})):
        with pytest.raises(UsageError, match="must be fitted"):
            call(ShardedALS())


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_jax_waits_until_a_fit() -> None:
    script = "import sys; import coded_als.cli, coded_als.cli.fit; from coded_als import ShardedALS; ShardedALS()"
    assert run(f"{script}; print([name for name in sys.modules if name.split('.')[0] in ('jax', 'jaxlib')])") == "[]\n"


def test_without_jax_one_line_says_what_to_install() -> None:
    script = """
import sys
sys.modules["jax"] = None
import numpy as np
from coded_als import ShardedALS, UsageError
from coded_als.sharded.objectives import descended
try:
    ShardedALS(2).fit(np.eye(3))
except UsageError as error:
    print(error)
"""
    told = run(script)
    assert told.startswith("sharded models need jax; got ")
    assert told.endswith("Install it with: pip install 'coded-als[jax]'\n")
    assert told.count("\n") == 1


def test_an_objective_that_rises_is_no_fit() -> None:
    assert descended(1.0, float("inf"), 5.0, "float32") == 1.0
    assert descended(1.0 + 1e-5, 1.0, 5.0, "float32") == 1.0 + 1e-5
    with pytest.raises(UsageError, match=r"regularization must be .* rose by 10\.0% .*RidgeALS"):
        descended(1.1, 1.0, 5.0, "float32")
    with pytest.raises(UsageError, match="float32 can square"):
        descended(float("nan"), 1.0, 5.0, "float32")
