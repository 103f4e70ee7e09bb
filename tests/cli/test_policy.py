"""``fit --policy``: ALS models with their half-steps on the workers."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from coded_als.baselines.distributed import FirstCopy, Partial, WaitForAll, parse_policy
from coded_als.cli import main
from coded_als.errors import UsageError

RATINGS = "synthetic:m=40,n=30,d=3,noise=0.1,density=0.3"
FIT = ["fit", RATINGS, "--rank", "2", "--iterations", "4", "--json"]


def fitted(*arguments: str) -> dict:
    run = CliRunner().invoke(main, [*FIT, *arguments])
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


@pytest.mark.parametrize("policy", ["wait", "first-copy:copies=2"])
@pytest.mark.parametrize("cluster", ["virtual", "local"])
def test_a_policy_that_skips_nobody_gives_the_model_of_one_process(policy: str, cluster: str) -> None:
    alone = fitted("--method", "implicit")
    spread = fitted("--method", "implicit", "--policy", policy, "--workers", "4", "--cluster", cluster)
    assert (spread["policy"], spread["workers"], spread["cluster"]) == (policy, 4, cluster)
    assert spread["objective"] == pytest.approx(alone["objective"], rel=1e-6)


def test_a_policy_that_goes_on_without_the_slow_is_faster() -> None:
    options = ["--method", "ridge", "--workers", "4", "--cluster", "virtual", "--delays", "slow:n=1,delay=1s"]
    waited, partial = (fitted(*options, "--policy", policy) for policy in ("wait", "partial:wait_for=3,max_skips=1"))
    assert waited["seconds_per_iteration"] >= 2
    assert partial["seconds_per_iteration"] < waited["seconds_per_iteration"]


def test_the_summary_names_the_policy() -> None:
    run = CliRunner().invoke(main, [*FIT[:-1], "--method", "ridge", "--policy", "wait", "--cluster", "inline"])
    assert "16 workers, policy wait" in run.stdout


def test_policies_have_specs() -> None:
    assert parse_policy("wait") == WaitForAll()
    assert parse_policy("first-copy:copies=3") == FirstCopy(3)
    assert parse_policy("partial:wait_for=3,max_skips=0") == Partial(3, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("best", "must be one of wait, first-copy, partial"),
        ("partial", "needs wait_for"),
        ("partial:wait_for=x", "whole number"),
        ("first-copy:copies=0", "copies must be"),
        ("wait:n=1", "takes no parameters"),
    ],
)
def test_what_is_no_policy_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_policy(spec)


@pytest.mark.parametrize("method", ["coded", "bpr"])
def test_other_methods_have_no_policy(method: str) -> None:
    run = CliRunner().invoke(main, [*FIT, "--method", method, "--policy", "wait"])
    assert run.exit_code == 2
    assert "--policy is for the methods ridge, implicit, ease" in run.output
