"""`CodedOperator` under SciPy's own solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import cg, lobpcg

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
    with pytest.raises(NotImplementedError, match="must be symmetric"):
        _ = CodedOperator(matrix, InlineCluster(4)).H


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
    with pytest.raises(NotImplementedError, match="must be symmetric"):
        _ = CodedOperator(ROOT, InlineCluster(6), partitions=2).H


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
    with pytest.raises(UsageError, match="must be numbers; got <U1"):
        CodedOperator(SYMMETRIC, InlineCluster(9)) @ np.full(30, "a")


def test_no_partitions_are_refused():
    with pytest.raises(UsageError, match="partitions must be a whole number of at least 1; got 0"):
        CodedOperator(SYMMETRIC, InlineCluster(9), partitions=0)
