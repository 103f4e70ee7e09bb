"""Codes side by side: what is stored, sent and computed, how well it decodes, and the memory of copies."""

from __future__ import annotations

import numpy as np
import pytest

from coded_als.cluster.machine import Machine
from coded_als.codes import Entangled, Replicated, Systematic, Uncoded, parse_code
from coded_als.errors import UsageError
from coded_als.experiments.code_survey import Setting, all_members, best_members, copies_limits, decoding_errors, survey

MACHINE = Machine(1e9, 1e8, 1e-3, 0.0)


def setting(**changes):
    return Setting(**{
        "workers": 12, "length": 120, "columns": 10, "delays": "exp:mean=20ms", "machine": MACHINE, "rounds": 300, "sets": 60
    } | changes)  # fmt: skip


def test_a_row_says_what_a_worker_stores_computes_and_sends():
    [row] = survey([Systematic(8)], setting())
    assert (row.code, row.kind, row.threshold) == ("systematic:p=8", "systematic", 8)
    assert row.share == row.work == 1 / 8
    assert (row.pieces, row.undisturbed_work) == (1, 12 / 8)
    assert row.memory_bytes == 8 * 120 * 120 / 8
    assert (row.payload_bytes, row.response_bytes) == (8 * 120 * 10, 8 * 120 * 10 / 8)


def test_in_pieces_calm_rounds_take_no_more_work_than_uncoded_ones():
    codes = ["uncoded", "systematic:p=6,pieces=1", "systematic:p=6,pieces=12", "replicated:copies=3,pieces=12"]
    uncoded, whole, coded, copies = survey([parse_code(code) for code in codes], setting(delays="none"))
    assert [row.undisturbed_work for row in (uncoded, whole, coded, copies)] == [1.0, 2.0, 1.0, 1.0]
    assert (coded.pieces, copies.pieces) == (12, 12)
    assert coded.mean_s < whole.mean_s


def test_the_circle_stores_two_planes_and_multiplies_four_times():
    [row] = survey([Entangled(h=4)], setting())
    assert (row.threshold, row.share, row.work) == (10, 2 / 16, 4 / 16)
    assert row.payload_bytes == row.response_bytes == 8 * 2 * 120 * 10 / 4


def test_round_times_are_those_of_the_order_statistics():
    """The mean of the 8th of 12 exponential times is 20 ms (1/12 + 1/11 + ... + 1/5)."""
    [row] = survey([Systematic(8)], setting(rounds=4000))
    wait_s = 0.02 * sum(1 / count for count in range(5, 13))
    # the payloads of all share the link; responses come one by one
    work_s = 120 * 120 * 10 / 8 / 1e9 + 2e-3 + (12 * 8 * 1200 + 8 * 150) / 1e8
    assert row.mean_s == pytest.approx(wait_s + work_s, rel=0.03)
    assert row.p99_s > 1.5 * row.mean_s


def test_with_the_memory_of_copies_the_systematic_code_waits_less():
    copies, coded = survey([Replicated(3), Systematic(4)], setting())
    assert copies.memory_bytes == coded.memory_bytes
    assert coded.mean_s < copies.mean_s
    assert coded.p99_s < copies.p99_s


def test_rounds_that_cannot_end_have_no_time():
    uncoded, coded = survey([Uncoded(), Systematic(8)], setting(delays="dead:n=2"))
    assert uncoded.mean_s is uncoded.p99_s is None
    assert coded.mean_s > 0
    assert uncoded.document()["virtual_seconds_mean"] is None


@pytest.mark.parametrize(
    ("spec", "least", "most"),
    [("uncoded", 0, 1e-15), ("replicated:copies=3", 0, 1e-15), ("systematic:p=8", 1e-16, 1e-12), ("entangled:h=4", 1e-16, 1e-8)],
)  # fmt: skip
def test_measured_errors_are_those_of_the_code(spec, least, most):
    errors = decoding_errors(parse_code(spec).for_product(12), 60)
    assert least <= errors.median <= errors.p99 <= most
    assert errors.contiguous <= most


def test_real_points_have_lost_their_digits_at_six_parts():
    errors = decoding_errors(parse_code("entangled:h=6,points=real").for_product(45), 30)
    assert errors.median > 1e-4


def test_members_use_the_memory_of_copies_and_no_more():
    limits = copies_limits(12)
    assert limits == [1 / 12, 1 / 6, 1 / 4, 1 / 3]
    members = best_members(12, 120, limits)
    assert [code.spec for code in members[:4]] == [
        "uncoded",
        "replicated:copies=2",
        "replicated:copies=3",
        "replicated:copies=4",
    ]
    assert {Systematic(12), Systematic(6), Systematic(4), Systematic(3), Entangled(p=12, r=1)} <= set(members)
    assert all(code.share(12) <= 1 / 3 + 1e-9 for code in members)
    for limit in limits:
        assert all(code.share(12) <= limit + 1e-9 for code in best_members(12, 120, [limit]))


def test_members_of_a_plan_can_all_be_tied_to_the_workers():
    for code in all_members(9, 1000):
        assert code.bind(9, 1000) == code
        assert np.isfinite(code.share(9))


def test_members_fit_the_matrix():
    assert Systematic(9) in all_members(9, 9)
    assert Systematic(9) not in all_members(9, 8)
    assert best_members(9, 1, copies_limits(9))


def test_memory_that_holds_no_share_is_refused():
    with pytest.raises(UsageError, match=r"memory must hold a share of some code on 12 workers; got 1 %"):
        best_members(12, 120, [0.01])
