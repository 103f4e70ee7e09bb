"""Codes by name: SPECs, what they become on W workers, and a code of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.codes import (
    CODES,
    CodeSpec,
    Entangled,
    EntangledPolynomialCode,
    Replicated,
    ReplicatedProduct,
    Systematic,
    SystematicCode,
    Uncoded,
    parse_code,
    register_code,
)  # fmt: skip
from coded_als.errors import UsageError
from tests.codes.test_product_codes import responses_of
from tests.strategies import seeds

SPECS = {
    "uncoded": Uncoded(),
    "replicated": Replicated(2),
    "replicated:copies=3": Replicated(3),
    "systematic": Systematic(),
    "systematic:p=21": Systematic(21),
    "entangled": Entangled(),
    "entangled:points=real": Entangled(points="real"),
    "entangled:h=6,points=circle": Entangled(h=6),
    "entangled:p=20,r=2": Entangled(p=20, r=2),
}


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_names_a_code_and_the_code_its_spec(spec):
    code = parse_code(spec)
    assert code == SPECS[spec]
    assert parse_code(code.spec) == code


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "fountain",
            "code must be one of replicated, uncoded, hedged, speculative, entangled, systematic; got 'fountain'",
        ),
        ("systematic:q=3", "code 'systematic' takes p, pieces; got 'q'"),
        ("uncoded:p=1", "code 'uncoded' takes no parameters; got 'p'"),
        ("systematic:p=many", "p must be a whole number of at least 1; got 'many'"),
        ("systematic:p=2.5", "p must be a whole number of at least 1; got 2.5"),
        ("systematic:p=", "p must have a value; got none"),
        ("replicated:copies=0", "copies must be a whole number of at least 1; got 0"),
        ("entangled:h=6,points=square", "points must be one of circle, real, equispaced; got 'square'"),
        ("entangled:h=6,p=3", "cut either h x h or p x r; got entangled:h=6,p=3"),
        ("entangled:r=3", "cut either h x h or p x r; got entangled:r=3"),
    ],
)
def test_what_a_spec_may_not_say(spec, message):
    with pytest.raises(UsageError, match=message):
        parse_code(spec)


@pytest.mark.parametrize(
    ("code", "workers", "length", "chosen"),
    [
        (Systematic(), 30, 600, Systematic(22)),
        (Systematic(), 30, 7, Systematic(7)),
        (Systematic(), 1, 7, Systematic(1)),
        (Entangled(), 30, 600, Entangled(h=6)),
        (Entangled(points="real"), 30, 600, Entangled(h=4, points="real")),
        (Entangled(), 30, 3, Entangled(h=3)),
        (Replicated(4), 30, 3, Replicated(4)),
    ],
)
def test_what_is_left_open_leaves_a_quarter_of_the_workers(code, workers, length, chosen):
    assert code.bind(workers, length) == chosen


@pytest.mark.parametrize(
    ("code", "workers", "message"),
    [
        (Systematic(9), 8, "workers must be at least 9 for code systematic:p=9; got 8"),
        (Systematic(21), 30, "p must be between 1 and min.* = 20; got 21. Lower p"),
        (Replicated(9), 8, "workers must be at least 9 for code replicated:copies=9; got 8"),
        (Entangled(h=6), 20, "workers must be at least 21 for code entangled:h=6; got 20"),
        (Entangled(p=21, r=1), 30, "parts must be between 1 and min.* = 20; got entangled:p=21,r=1"),
    ],
)
def test_a_code_that_does_not_fit_is_refused(code, workers, message):
    with pytest.raises(UsageError, match=message):
        code.bind(workers, 20)


ALL = st.sampled_from([
    Uncoded(), Replicated(2), Replicated(3), Systematic(), Systematic(5), Entangled(), Entangled(h=3),
    Entangled(p=5, r=1), Entangled(p=4, r=2), Entangled(points="real"),
])  # fmt: skip


@given(code=ALL, workers=st.integers(6, 20), seed=seeds)
@settings(max_examples=60)
def test_every_code_spreads_every_product_of_a_factorization(code, workers, seed):
    """D = A^T A, E = D B, and A H from the left shares of the first where the code says that they serve it."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((11, 7)), rng.standard_normal((7, 3))
    code = code.bind(workers, 7)
    data = a.T @ a
    gram, product, last = code.for_gram(workers), code.for_product(workers), code.for_other_factor(workers)
    np.testing.assert_allclose(gram.decode(responses_of(gram, a.T, a), data.shape), data, atol=1e-9)
    np.testing.assert_allclose(product.decode(responses_of(product, data, b), b.shape), data @ b, atol=1e-9)
    if last is not None:
        for stored, share in zip(gram.encode_left(a.T), last.encode_left(a), strict=True):
            np.testing.assert_allclose(stored.transpose(0, 2, 1), share, atol=1e-12)
        np.testing.assert_allclose(last.decode(responses_of(last, a, b), (11, 3)), a @ b, atol=1e-9)


@pytest.mark.parametrize("workers", [1, 2, 5, 16, 31])
def test_candidates_can_all_be_tied_to_the_workers(workers):
    for family in CODES.values():
        members = list(family.candidates(workers))
        assert len(members) == len(set(members))
        for member in members:
            assert member.bind(workers, 1000) == member
            assert member.for_product(workers).workers == workers
    assert len(list(Systematic.candidates(workers))) == workers


def test_with_one_column_part_everybody_is_sent_the_same_real_payload():
    code = Entangled(p=9, r=1).for_product(6)
    assert isinstance(code, EntangledPolynomialCode)
    shares = list(code.encode_right(np.ones((4, 2))))
    assert all(share is shares[0] for share in shares)
    assert shares[0].shape == code.right_shape((4, 2)) == (1, 4, 2)
    assert code.recovery_threshold == 5


def test_replication_in_any_number_of_copies_uses_every_worker():
    for workers in (7, 16, 30):
        for copies in range(1, workers + 1):
            code = Replicated(copies).for_product(workers)
            assert isinstance(code, ReplicatedProduct)
            assert sum(map(len, code.groups)) == workers


@dataclass(frozen=True)
class Checksum(CodeSpec):
    """A block on each worker but the last, which has the sum of all: any one may be lost."""

    def for_product(self, workers: int) -> SystematicCode:
        return SystematicCode(workers - 1, 1, workers, (np.ones((1, workers - 1)), np.ones((1, 1))))


def test_a_code_of_ones_own_is_known_by_its_name(monkeypatch):
    monkeypatch.setitem(CODES, "checksum", Uncoded)  # taken out again afterwards
    assert register_code("checksum")(Checksum) is Checksum
    assert parse_code("checksum") == Checksum()
    assert Checksum().spec == "checksum"
    assert Checksum().bind(5, 100).for_product(5).recovery_threshold == 4


def test_a_module_named_in_the_environment_registers_its_classes(monkeypatch, tmp_path):
    module = "from coded_als.codes import CODES, Uncoded\nCODES['plain'] = Uncoded\n"
    (tmp_path / "codes_of_my_own.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CODED_ALS_PLUGINS", "codes_of_my_own")
    try:
        assert parse_code("plain") == Uncoded()
    finally:
        CODES.pop("plain", None)
    monkeypatch.setenv("CODED_ALS_PLUGINS", "no_such_module_anywhere")
    with pytest.raises(UsageError, match="CODED_ALS_PLUGINS must name modules that Python finds; got 'no_such_mod"):
        parse_code("plainer")
