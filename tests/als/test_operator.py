"""`CodedOperator` under SciPy's own solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import cg, lobpcg, lsqr, svds

from coded_als import CodedOperator, InlineCluster
from coded_als.errors import UsageError

RNG = np.random.default_rng(0)
ROOT = RNG.standard_normal((40, 30))
SYMMETRIC = ROOT.T @ ROOT


@pytest.mark.parametrize(
    ("options", "responses"),
    [
        ({"partitions": 3}, 6),
        ({"code": "systematic"}, 6),
        ({"code": "systematic:p=7"}, 7),
        ({"code": "entangled:p=11,r=1"}, 6),
    ],
)
def test_products_are_numpys(options, responses):
    matrix = RNG.standard_normal((17, 23))
    operator = CodedOperator(matrix, InlineCluster(9, "exp:mean=1ms"), **options)
    block, expected = RNG.standard_normal((23, 4)), matrix.copy()
    matrix[:] = 0.0  # shares are of the matrix as it was
    np.testing.assert_allclose(operator @ block, expected @ block, atol=1e-11)
    np.testing.assert_allclose(operator @ block[:, 0], expected @ block[:, 0], atol=1e-11)
    assert [record.responses for record in operator.rounds] == [responses, responses]


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("shape", [(17, 23), (23, 17), (20, 20)])
def test_a_sparse_matrix_stays_sparse_and_multiplies_like_scipys(form, shape):
    matrix = sparse.random_array(shape, density=0.2, rng=np.random.default_rng(1), format=form)
    cluster = InlineCluster(9, "exp:mean=1ms+dead:n=2")
    block, dense = RNG.standard_normal((shape[1], 4)), matrix.toarray()
    operator = CodedOperator(matrix, cluster)
    matrix.data[:] = 0.0  # blocks are of the matrix as it was
    np.testing.assert_allclose(operator @ block, dense @ block, atol=1e-13)
    np.testing.assert_allclose(operator @ block[:, 0], dense @ block[:, 0], atol=1e-13)
    held = sum(array.nbytes for array in cluster._arrays._memory[0].values())
    assert held < 12 * (matrix.nnz + shape[0])


@pytest.mark.parametrize("hold", [sparse.csr_array, np.asarray])
@pytest.mark.parametrize("shape", [(17, 23), (23, 17)])
@pytest.mark.parametrize("verify", ["off", "freivalds"])
def test_the_gram_operator_is_symmetric_and_multiplies_with_both(hold, shape, verify):
    dense = sparse.random_array(shape, density=0.3, rng=np.random.default_rng(1)).toarray()
    operator = CodedOperator(hold(dense), InlineCluster(6, "exp:mean=1ms"), gram=True, verify=verify)
    block = RNG.standard_normal((shape[1], 4))
    assert operator.shape == (shape[1], shape[1])
    assert operator.H is operator
    np.testing.assert_allclose(operator @ block, dense.T @ (dense @ block), atol=1e-12)
    assert len(operator.rounds) == 1


def test_singular_values_of_a_sparse_matrix_by_scipys_block_eigensolver():
    matrix = sparse.random_array((300, 200), density=0.05, rng=np.random.default_rng(2), format="csr")
    operator = CodedOperator(matrix, InlineCluster(6, "exp:mean=1ms"), code="replicated:copies=2", gram=True)
    values, _ = lobpcg(operator, RNG.standard_normal((200, 4)), largest=True, tol=1e-6, maxiter=200)
    np.testing.assert_allclose(np.sqrt(values), np.linalg.svd(matrix.toarray())[1][:4], rtol=1e-9)


def test_the_adjoint_of_a_symmetric_sparse_operator_is_itself():
    matrix = sparse.random_array((12, 12), density=0.2, rng=np.random.default_rng(2), format="csr")
    symmetric = CodedOperator(matrix + matrix.T, InlineCluster(4))
    assert symmetric.H is symmetric


@pytest.mark.parametrize("options", [{"code": "systematic:p=3"}, {"partitions": 2}])
def test_codes_that_would_fill_sparse_rows_in_are_refused(options):
    with pytest.raises(UsageError, match="sparse rows are held in copies, not coded"):
        CodedOperator(sparse.eye_array(9).tocsr(), InlineCluster(9), **options)


def test_a_sparse_matrix_with_nan_is_refused():
    with pytest.raises(UsageError, match="must be a real, finite 2-d array"):
        CodedOperator(sparse.csr_array([[np.nan, 1.0]]), InlineCluster(3))
    with pytest.raises(UsageError, match="got complex128 of shape"):
        CodedOperator(sparse.csr_array([[1j, 1.0]]), InlineCluster(3))


def test_scipys_block_eigensolver_runs_on_it():
    operator = CodedOperator(SYMMETRIC, InlineCluster(9, "exp:mean=1ms"))
    values, _ = lobpcg(operator, RNG.standard_normal((30, 3)), largest=True, tol=1e-8, maxiter=200)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(SYMMETRIC)[::-1][:3], rtol=1e-6)


def test_scipys_conjugate_gradients_run_on_it():
    operator = CodedOperator(SYMMETRIC + 10 * np.eye(30), InlineCluster(9, "exp:mean=1ms"))
    right = RNG.standard_normal(30)
    solution, failed = cg(operator, right, rtol=1e-10)
    assert not failed
    np.testing.assert_allclose(solution, np.linalg.solve(SYMMETRIC + 10 * np.eye(30), right), rtol=1e-6)


def test_two_operators_share_a_cluster():
    cluster = InlineCluster(6)
    one = CodedOperator(SYMMETRIC, cluster, partitions=2, name="one")
    two = CodedOperator(2 * SYMMETRIC, cluster, partitions=2, name="two")
    np.testing.assert_allclose(2 * (one @ np.eye(30)), two @ np.eye(30), atol=1e-10)


def test_the_adjoint_of_a_symmetric_operator_is_itself():
    operator = CodedOperator(SYMMETRIC, InlineCluster(6), partitions=2)
    assert operator.H is operator
    block = RNG.standard_normal((30, 2))
    np.testing.assert_allclose(operator.rmatmat(block), SYMMETRIC @ block, atol=1e-11)


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("shape", [(17, 23), (23, 17), (20, 20)])
@pytest.mark.parametrize("verify", ["off", "freivalds"])
def test_the_adjoint_multiplies_with_the_transpose(hold, shape, verify):
    matrix = RNG.standard_normal(shape)
    operator = CodedOperator(hold(matrix), InlineCluster(9, "exp:mean=1ms+dead:n=2"), verify=verify)
    block = RNG.standard_normal((shape[0], 4))
    for adjoint in (operator.H, operator.T, operator.H.H.H):
        assert adjoint.shape == shape[::-1]
        np.testing.assert_allclose(adjoint @ block, matrix.T @ block, atol=1e-11)
        np.testing.assert_allclose(adjoint @ block[:, 0], matrix.T @ block[:, 0], atol=1e-11)
    complex_block = block + 1j * block[::-1]
    np.testing.assert_allclose(operator.H @ complex_block, matrix.T @ complex_block, atol=1e-11)
    np.testing.assert_allclose(operator.rmatvec(block[:, 1]), matrix.T @ block[:, 1], atol=1e-11)
    np.testing.assert_allclose(operator.H.H @ np.eye(shape[1]), matrix, atol=1e-11)
    assert len(operator.rounds) == 9


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_array])
def test_scipys_singular_values_and_least_squares_run_on_it(hold):
    matrix = RNG.standard_normal((30, 20))
    operator = CodedOperator(hold(matrix), InlineCluster(6, "exp:mean=1ms"))
    values = svds(operator, k=3, return_singular_vectors=False, random_state=0)
    np.testing.assert_allclose(np.sort(values)[::-1], np.linalg.svd(matrix)[1][:3], rtol=1e-8)
    right = RNG.standard_normal(30)
    found = lsqr(operator, right, atol=1e-13, btol=1e-13)[0]
    np.testing.assert_allclose(found, np.linalg.lstsq(matrix, right, rcond=None)[0], rtol=1e-7)


def test_the_shares_of_the_transpose_are_stored_once_and_go_with_the_operator():
    cluster = InlineCluster(6)
    operator = CodedOperator(ROOT, cluster, code="systematic:p=3")
    alone = len(cluster._arrays._memory[0])
    for _ in range(3):
        _ = operator.H @ np.ones(40)
    assert len(cluster._arrays._memory[0]) == 2 * alone
    del operator
    assert not cluster._arrays._memory[0]


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("gram", [False, True])
def test_a_block_without_columns_has_a_product_without_columns(hold, gram):
    operator = CodedOperator(hold(ROOT), InlineCluster(6), gram=gram)
    for kind in (np.float64, np.float32, np.int64, np.complex128):
        product = operator @ np.ones((30, 0), kind)
        assert product.shape == (ROOT @ np.ones((30, 0))).shape if not gram else (30, 0)
        assert product.dtype == (ROOT @ np.ones((30, 0), kind)).dtype
    assert operator.H.matmat(np.ones((operator.shape[0], 0))).shape == (30, 0)
    assert not operator.rounds


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1j * np.inf, np.longdouble("1e400")])
def test_what_is_multiplied_must_be_finite_and_no_worker_is_blamed(value):
    cluster = InlineCluster(6)
    operator = CodedOperator(ROOT, cluster)
    for one, rows in ((operator, 30), (operator.H, 40)):
        block = np.ones((rows, 3), np.asarray(value).dtype)
        block[4, 1] = value
        with pytest.raises(
            UsageError, match=r"the right operand must be finite in float64; got .* in row 4, column [14]"
        ):
            _ = one @ block
    np.testing.assert_allclose(operator @ np.ones(30), ROOT @ np.ones(30), atol=1e-11)
    assert len(operator.rounds) == 1


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_array])
def test_large_vectors_have_the_products_that_float64_holds(hold):
    matrix = np.abs(ROOT)
    operator = CodedOperator(hold(matrix), InlineCluster(6), code="uncoded")
    block = np.ones((30, 3)) * [1e306, 1e305, 1e-300]
    np.testing.assert_allclose(operator @ block, matrix @ block, rtol=1e-12)
    with pytest.raises(UsageError, match=r"the product must be finite in float64; got inf in row \d+, column 1"):
        _ = operator @ (np.ones((30, 2)) * [1.0, 1e308])


def test_a_gram_matrix_that_overflows_is_refused():
    with pytest.raises(UsageError, match=r"A\^T A must be finite in float64; got inf in row 0, column 0"):
        CodedOperator(np.full((3, 3), 1e200), InlineCluster(3), gram=True)


def test_a_matrix_with_nan_is_refused():
    with pytest.raises(UsageError, match="must be a real, finite 2-d array"):
        CodedOperator(np.full((3, 3), np.nan), InlineCluster(3))


@pytest.mark.parametrize("matrix", [np.eye(3) * 1j, np.full((3, 3), "a"), np.ones(3)], ids=["complex", "text", "1-d"])
def test_a_matrix_that_is_not_real_is_refused(matrix):
    with pytest.raises(UsageError, match="must be a real, finite 2-d array"):
        CodedOperator(matrix, InlineCluster(3))


def test_products_with_complex_vectors_keep_their_imaginary_parts():
    matrix = RNG.standard_normal((17, 23))
    operator = CodedOperator(matrix, InlineCluster(9))
    block = RNG.standard_normal((23, 4)) + 1j * RNG.standard_normal((23, 4))
    np.testing.assert_allclose(operator @ block, matrix @ block, atol=1e-11)
    np.testing.assert_allclose(operator @ block[:, 0], matrix @ block[:, 0], atol=1e-11)


def test_what_is_multiplied_must_be_numbers():
    with pytest.raises(UsageError, match="cannot multiply by an array of dtype <U1"):
        CodedOperator(SYMMETRIC, InlineCluster(9)) @ np.full(30, "a")


def test_no_partitions_are_refused():
    with pytest.raises(UsageError, match="partitions must be a whole number of at least 1; got 0"):
        CodedOperator(SYMMETRIC, InlineCluster(9), partitions=0)
