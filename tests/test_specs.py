"""The grammar that SPECs share: keys, repeated ones among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coded_als.baselines.distributed import parse_policy
from coded_als.codes import parse_code
from coded_als.data import load_ratings
from coded_als.delays import parse_delays
from coded_als.errors import UsageError


@pytest.mark.parametrize(
    ("read", "spec", "key"),
    [
        (parse_delays, "exp:mean=20ms,mean=30ms", "mean"),
        (parse_delays, "none+bimodal:p=0.2,fast=5ms,slow=1s,p=0.3", "p"),
        (parse_code, "systematic:p=4,p=4", "p"),
        (parse_policy, "first-copy:copies=2,copies=3", "copies"),
        (load_ratings, "synthetic:m=9,n=8,d=2,m=9", "m"),
        (load_ratings, "synthetic-graph:nodes=50,nodes=60", "nodes"),
    ],
)
def test_a_key_is_given_once(read, spec: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"takes each key once; got '{key}' twice in .*Remove one"):
        read(spec)


@pytest.mark.parametrize("spec", ["synthetic:m=9,n=8", "synthetic:m=9,n=8,d=2,k=3", "synthetic:m=9,n=8,d=2,noise=x"])
def test_a_synthetic_matrix_says_what_is_wrong(spec: str) -> None:
    with pytest.raises(UsageError):
        load_ratings(spec)


def test_a_synthetic_matrix_may_have_blanks_between_its_values(tmp_path: Path) -> None:
    assert load_ratings("synthetic: m=9, n=8 , d = 2").shape == (9, 8)


@pytest.mark.parametrize(
    ("read", "spec", "remedy"),
    [
        (parse_delays, "exp", "Write exp:mean=..."),
        (parse_delays, "bimodal:p=0.2,slow=1s", "Write bimodal:p=0.2,slow=1s,fast=..."),
        (load_ratings, "synthetic:m=9", "Write synthetic:m=9,n=...,d=..."),
    ],
)
def test_what_is_missing_is_written_out(read, spec: str, remedy: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(spec)
    assert str(refused.value).endswith(remedy)
