"""The report on a code: the worst survivors that it finds, and the invariants that it says are broken."""

from __future__ import annotations

import json
from itertools import combinations, repeat

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.codes import BlockCut, LinearCode, SystematicCode, encoded, join
from coded_als.errors import UsageError
from coded_als.testing import INVARIANTS, check_code
from tests.testing.test_invariants import BROKEN, Changed


class Lagrange(LinearCode, BlockCut):
    """Values of the polynomial through p blocks at Chebyshev points, of which those of a set may all lie to one side."""

    def __init__(self, p, workers):
        BlockCut.__init__(self, p, 1, 1)
        nodes, points = (np.cos((2 * np.arange(n) + 1) * np.pi / (2 * n)) for n in (p, workers))
        others = [np.delete(nodes, j) for j in range(p)]
        generator = np.stack(
            [np.prod((points[:, None] - others[j]) / (nodes[j] - others[j]), axis=1) for j in range(p)], axis=1
        )
        LinearCode.__init__(self, generator[:, np.newaxis], np.arange(p))

    def encode_left(self, matrix):
        return encoded(self.coefficients, matrix, self.p, 1)

    def encode_right(self, matrix):
        return repeat(matrix[np.newaxis], self.workers)

    def decode(self, responses, shape=None, tolerance=None):
        blocks = self.decode_blocks(responses, tolerance)
        return join(blocks[:, np.newaxis], shape or (self.p * blocks.shape[1], blocks.shape[2]))


def test_the_bad_sets_of_a_lagrange_code_are_found():
    report = check_code(Lagrange(10, 30), sets=20, looked_at=400)
    assert report.worst.worst > 1e-6
    assert not report.worst.exhaustive
    # the measured error of the sets that were found is the evidence, and not the estimate alone
    assert report.measured > 1e-9
    assert report.median < 1e-9 < report.worst.worst
    assert report.holds


def test_all_sets_are_looked_at_where_they_are_few():
    report = check_code("systematic:p=4", workers=7, sets=10)
    code = SystematicCode(4, 1, 7)
    assert report.worst.exhaustive
    assert report.worst.worst == max(code.error_estimate(chosen) for chosen in combinations(range(7), 4))
    assert report.search == "all 35 sets of 4 workers"


@pytest.mark.parametrize("name", INVARIANTS)
def test_a_broken_invariant_is_named_with_the_workers_that_show_it(name):
    report = check_code(Changed(SystematicCode(3, 1, 6), **BROKEN[name]), sets=20)
    assert name in {violation.invariant for violation in report.violations}
    assert not report.holds
    assert f"BROKEN: {name}" in str(report)
    assert sum(violation.invariant == name for violation in report.violations) <= 3


def test_a_code_that_raises_is_reported_and_not_passed_on():
    def decode(responses, shape=None, tolerance=None):
        raise ZeroDivisionError("of one's own")

    report = check_code(Changed(SystematicCode(3, 1, 6), decode=decode), sets=3)
    assert "raise ZeroDivisionError: of one's own" in str(report)


@pytest.mark.parametrize("spec", ["uncoded", "replicated:copies=2", "systematic", "entangled", "entangled:p=6,r=1"])
def test_codes_of_the_package_hold(spec):
    report = check_code(spec, workers=12, sets=30, looked_at=200)
    assert report.holds
    assert report.measured <= report.worst.worst


def test_copies_are_said_not_to_decode_from_most_sets():
    text = str(check_code("replicated:copies=3", workers=12, sets=5, looked_at=50))
    assert "worst set found   does not decode" in text
    assert "inf" not in text


def test_wrong_counts_are_refused():
    for wrong in ({"sets": 0}, {"looked_at": 0}, {"workers": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            check_code("systematic:p=4", **{"workers": 7, **wrong})


def test_the_command_prints_the_report_and_its_exit_code_is_the_verdict():
    arguments = ["check-code", "systematic:p=3", "--workers", "6", "--sets", "5"]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0
    assert "all 6 invariants hold" in found.stdout
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert document["holds"]
    assert document["recovery_threshold"] == 3
    assert document["worst"]["exhaustive"]
