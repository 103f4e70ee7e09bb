"""The half-step against dense linear algebra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.baselines.block_kernel import solved_by_numpy
from coded_als.baselines.half_step import Rows, RowSolver
from coded_als.baselines.threads import for_all_rows


def problem(seed, rows=7, columns=30, rank=5, density=0.4, shared=True):
    generator = np.random.default_rng(seed)
    mask = generator.random((rows, columns)) < density
    mask[0] = False
    mask[1] = True
    matrix = sparse.csr_array(mask.astype(float))
    entries = matrix.nnz
    fixed = generator.standard_normal((columns, rank))
    weights = Rows(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        generator.random(entries) + 0.1,
        generator.standard_normal(entries),
        generator.random(rows) + 0.05,
    )
    gram = 0.3 * fixed.T @ fixed if shared else None
    penalty = np.ones(rank) if shared else generator.random(rank) + 0.5
    return weights, fixed, gram, penalty


def dense_row(rows, fixed, gram, penalty, row):
    part = slice(rows.indptr[row], rows.indptr[row + 1])
    y = fixed[rows.indices[part]]
    a = (0 if gram is None else gram) + y.T @ np.diag(rows.curvature[part]) @ y + rows.ridge[row] * np.diag(penalty)
    b = y.T @ rows.target[part]
    return a, b


@pytest.mark.parametrize("shared", [True, False], ids=["gram", "no gram"])
@pytest.mark.parametrize("rank", [1, 5, 17], ids=lambda rank: f"rank {rank}")
@pytest.mark.parametrize("solver", ["cholesky", "cg", "numpy"])
def test_rows_solve_their_normal_equations(solver, rank, shared):
    """Rows shorter and longer than the rank (the small and the large form) and an empty one."""
    rows, fixed, gram, penalty = problem(3, rank=rank, shared=shared)
    start = np.zeros((rows.count, rank))
    if solver == "numpy":
        found, explained = solved_by_numpy(fixed, gram, penalty, rows)
    else:
        found, explained = RowSolver(fixed, gram, penalty, solver, cg_steps=4 * rank).solve(rows, start)
    for row in range(rows.count):
        a, b = dense_row(rows, fixed, gram, penalty, row)
        expected = np.linalg.solve(a, b)
        np.testing.assert_allclose(found[row], expected, rtol=1e-8, atol=1e-9)
        assert explained[row] == pytest.approx(2 * b @ expected - expected @ a @ expected, rel=1e-9, abs=1e-12)
    assert not found[0].any()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans())
def test_a_few_gradients_report_what_they_explain_and_never_explain_less(seed, steps, shared):
    rows, fixed, gram, penalty = problem(seed, shared=shared)
    start = np.random.default_rng(seed + 1).standard_normal((rows.count, 5))
    found, explained = RowSolver(fixed, gram, penalty, "cg", steps).solve(rows, start)
    for row in range(rows.count):
        a, b = dense_row(rows, fixed, gram, penalty, row)
        assert explained[row] == pytest.approx(2 * b @ found[row] - found[row] @ a @ found[row], rel=1e-8, abs=1e-8)
        assert explained[row] >= 2 * b @ start[row] - start[row] @ a @ start[row] - 1e-9


def test_gradients_started_at_the_solution_stay_there():
    rows, fixed, gram, penalty = problem(5)
    exact, _ = RowSolver(fixed, gram, penalty).solve(rows, np.zeros((rows.count, 5)))
    again, _ = RowSolver(fixed, gram, penalty, "cg", 3).solve(rows, exact)
    np.testing.assert_allclose(again, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_the_number_of_threads_changes_no_bit(solver):
    rows, fixed, gram, penalty = problem(8, rows=150)
    start = np.ones((rows.count, 5))
    one = RowSolver(fixed, gram, penalty, solver).solve(rows, start, threads=1)
    three = RowSolver(fixed, gram, penalty, solver).solve(rows, start, threads=3)
    np.testing.assert_array_equal(one[0], three[0])
    np.testing.assert_array_equal(one[1], three[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_in_lockstep_have_the_same_neighbours_on_any_number_of_threads(dtype):
    """Matrix products of blocks of other heights round differently, so a cut inside a block would show."""
    generator = np.random.default_rng(0)
    matrix = sparse.csr_array((generator.random((700, 90)) < np.linspace(0.02, 0.6, 700)[:, None]).astype(float))
    ones = np.ones(matrix.nnz, dtype)
    rows = Rows(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), ones, ones, np.full(700, 0.3, dtype))
    fixed = generator.standard_normal((90, 40)).astype(dtype)
    solver = RowSolver(fixed, fixed.T @ fixed, np.ones(40, dtype), "cg", 3)
    start = generator.standard_normal((700, 40)).astype(dtype)
    one, *others = (solver.solve(rows, start, threads)[0] for threads in (1, 2, 3, 5))
    for other in others:
        np.testing.assert_array_equal(one, other)


@given(st.lists(st.integers(1, 50), min_size=0, max_size=60), st.integers(1, 5), st.integers(1, 9))
@settings(max_examples=30)
def test_every_row_is_visited_once(work, threads, together):
    parts = []
    for_all_rows(lambda rows: parts.append(rows.tolist()), np.array(work), threads, together)
    assert sorted(row for part in parts for row in part) == list(range(len(work)))
    assert all(part[0] % together == 0 for part in parts if part)


def test_blas_has_one_thread_while_rows_are_shared_out():
    from threadpoolctl import threadpool_info

    found = []

    def look(rows):
        # a library on OpenMP, such as the BLAS of faiss, counts the threads of each thread by itself
        blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
        found.extend(library["num_threads"] for library in blas if library["threading_layer"] != "openmp")

    before = [library["num_threads"] for library in threadpool_info()]
    for_all_rows(look, np.ones(4), 2)
    assert set(found) == {1}
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_a_failure_in_a_thread_is_raised():
    def fail(rows):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        for_all_rows(fail, np.ones(9), 2)
