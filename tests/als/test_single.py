"""Shares in float32: the proof of float64 in about its rounds, half the bytes, and "undecided" where float32 cannot tell."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from coded_als import CodedALS, CodedOperator, InlineCluster, LocalCluster
from coded_als.codes import parse_code
from coded_als.codes.single import SinglePrecision, in_type
from coded_als.errors import DecodingError, UsageError
from tests.als.test_coded_als import optimum

DECAYING = np.random.default_rng(0).standard_normal((80, 50)) * np.arange(1, 51) ** -0.7
CODES = ["systematic:p=5", "entangled:h=2", "replicated:copies=2", "uncoded"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("solver", ["lobpcg", "krylov", "als"])
def test_float32_proves_the_optimum_in_the_rounds_of_float64(code, solver):
    single, double = (
        CodedALS(6, code=code, solver=solver, dtype=dtype).fit(DECAYING, InlineCluster(8))
        for dtype in ("float32", "float64")
    )
    assert single.outcome_ == double.outcome_ == "converged"
    assert single.objective_ == pytest.approx(optimum(DECAYING, 6), rel=5e-9)
    assert single.user_factors_.dtype == np.float64
    if solver != "als":
        assert len(single.history_) <= len(double.history_) + 1


@pytest.mark.parametrize("code", ["auto", "replicated:copies=2"])
@pytest.mark.parametrize("center", [None, "columns"])
def test_sparse_rows_in_float32(code, center):
    ratings = sparse.random_array((90, 40), density=0.2, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(4, code=code, center=center, precomputation="none", dtype="float32").fit(ratings, InlineCluster(6))
    full = ratings.toarray() - (ratings.toarray().mean(axis=0) if center else 0.0)
    assert model.precomputation_ == "none"
    assert model.outcome_ == "converged"
    assert model.objective_ == pytest.approx(optimum(full, 4), rel=5e-9)


@pytest.mark.parametrize("solver", ["lobpcg", "krylov"])
@pytest.mark.parametrize("offset", [100.0, 1e4])
def test_an_offset_hides_the_objective_from_float32_until_it_is_centred(solver, offset):
    matrix = np.random.default_rng(0).standard_normal((80, 50)) + offset
    undecided = CodedALS(5, solver=solver, dtype="float32").fit(matrix, InlineCluster(6))
    assert undecided.outcome_ == "undecided"
    assert all(word in undecided.remedy_ for word in ("float32", "center='columns'", "dtype='float64'"))
    cured = CodedALS(5, solver=solver, dtype="float32", center="columns").fit(matrix, InlineCluster(6))
    assert cured.outcome_ == "converged"
    assert cured.objective_ == pytest.approx(optimum(matrix - matrix.mean(axis=0), 5), rel=5e-9)


@pytest.mark.parametrize("shape", [(80, 50), (50, 80)])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int64])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_narrow_input_gives_the_factors_of_its_numbers(shape, dtype, form):
    matrix = np.where(np.random.default_rng(0).random(shape) < 0.3, 3, 1).astype(dtype)
    narrow, wide = CodedALS(4).fit(form(matrix)), CodedALS(4).fit(form(matrix.astype(np.float64)))
    assert narrow.objective_ == pytest.approx(wide.objective_, rel=1e-12)
    product = (model.user_factors_ @ model.item_factors_.T for model in (narrow, wide))
    np.testing.assert_allclose(*product, atol=1e-6)


def test_whole_numbers_that_float32_rounds_stay_exact():
    matrix = np.random.default_rng(0).integers(0, 2**40, (30, 20))
    assert CodedALS(3).fit(matrix).objective_ == pytest.approx(optimum(matrix.astype(np.float64), 3), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_narrow_input_is_never_widened_as_a_whole(dtype):
    random = np.random.default_rng(0).random((100_000, 150), np.float32)
    matrix = (1 + 100 * random * 0.8 ** np.arange(150, dtype=np.float32)).astype(dtype)
    tracemalloc.start()
    model = CodedALS(3, precomputation="local", tolerance=1e-3, dtype="float32")
    model.fit(matrix, InlineCluster(4))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * matrix.size + 2**26  # two copies in float32, and panels; in float64 they would be twice as large


@pytest.mark.parametrize("largest", [1e-40, 1e-30, 1e30, 3e38])
def test_extreme_numbers_of_float32_are_scaled(largest):
    matrix = (DECAYING / np.abs(DECAYING).max() * largest).astype(np.float32)
    model = CodedALS(4, dtype="float32").fit(matrix, InlineCluster(6))
    assert model.outcome_ == "converged"
    assert model.objective_ == pytest.approx(optimum(matrix.astype(np.float64), 4), rel=5e-9)


def test_shares_and_messages_take_half_the_bytes():
    sizes = {}
    for dtype in ("float64", "float32"):
        code = in_type(parse_code("systematic:p=4").bind(6, 50).for_product(6), np.dtype(dtype))
        shares = [*code.encode_left(DECAYING.T @ DECAYING)], [*code.encode_right(DECAYING[:50, :7])]
        sizes[dtype] = [sum(share.nbytes for share in side) for side in shares]
        assert {share.dtype for side in shares for share in side} == {np.dtype(dtype)}
        assert all(share is shares[1][0] or dtype == "float64" for share in shares[1])
    assert sizes["float64"] == [2 * size for size in sizes["float32"]]


def test_the_estimate_knows_the_type():
    plain = parse_code("systematic:p=4").bind(6, 50).for_product(6)
    code, rng = in_type(plain, np.dtype(np.float32)), np.random.default_rng(0)
    assert isinstance(code, SinglePrecision)
    left, right = rng.standard_normal((40, 30)), rng.standard_normal((30, 5))
    shares = [one @ other for one, other in zip(code.encode_left(left), code.encode_right(right), strict=True)]
    responses = {worker: shares[worker] for worker in (1, 2, 4, 5)}
    found, estimate = code.decode(responses, (40, 5)), code.error_estimate(tuple(responses))
    error = np.linalg.norm(found - left @ right) / np.linalg.norm(left) / np.linalg.norm(right)
    assert found.dtype == np.float64
    assert 1e-9 < error < estimate
    assert plain.error_estimate(tuple(responses)) < error
    with pytest.raises(DecodingError):
        code.decode(responses, (40, 5), estimate / 2)


@pytest.mark.parametrize("ratings", [DECAYING, sparse.csr_array(np.where(np.abs(DECAYING) > 0.1, DECAYING, 0.0))])
@pytest.mark.parametrize("code", ["systematic:p=3,pieces=3", "replicated:copies=2"])
def test_workers_hold_and_respond_in_float32(ratings, code):
    if sparse.issparse(ratings) and "systematic" in code:
        ratings = ratings.toarray()
    with LocalCluster(workers=5) as cluster:
        model = CodedALS(4, code=code, dtype="float32", verify="freivalds").fit(ratings, cluster)
    full = ratings.toarray() if sparse.issparse(ratings) else ratings
    assert model.outcome_ == "converged"
    assert model.left_out_ == ()
    assert model.objective_ == pytest.approx(optimum(full, 4), rel=5e-9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("gram", [False, True])
def test_an_operator_in_float32(form, gram):
    matrix = np.random.default_rng(0).standard_normal((12, 9)) * 1e200
    operator = CodedOperator(form(matrix / 1e150), InlineCluster(6), dtype="float32", gram=gram)
    expected = matrix / 1e150
    expected = expected.T @ expected if gram else expected
    for right in (np.eye(9), 1e100 * np.eye(9), np.diag(10.0 ** np.arange(-80, 100, 20))):
        np.testing.assert_allclose(operator @ right, expected @ right, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(operator.H @ np.eye(len(expected)), expected.T, atol=1e-4 * np.abs(expected).max())
    assert (operator @ np.eye(9)).dtype == np.float64


def test_the_rank_is_that_of_the_data_and_not_of_float32():
    rng = np.random.default_rng(0)
    orthonormal = np.linalg.qr(rng.standard_normal((40, 6)))[0], np.linalg.qr(rng.standard_normal((20, 6)))[0]
    matrix = (orthonormal[0] * 10.0 ** -np.arange(6)) @ orthonormal[1].T
    assert CodedALS(5, dtype="float32", tolerance=1e-3).fit(matrix).user_factors_.shape == (40, 5)
    with pytest.raises(UsageError, match="here 6 as far as rounding"):
        CodedALS(8, dtype="float32").fit(matrix)


def test_other_types_and_protocols_are_refused():
    with pytest.raises(UsageError, match="dtype must be"):
        CodedALS(2, dtype="float16").fit(DECAYING)
    with pytest.raises(UsageError, match="calculates in float64"):
        CodedALS(2, dtype="float32", protocol="paper", solver="als").fit(DECAYING)
