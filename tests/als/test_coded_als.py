"""`CodedALS` on the inline cluster: iterates, optimum, and every way to be wrong."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, InlineCluster, load_model
from coded_als.als.als import FusedSweeps, PaperSweeps
from coded_als.codes import EntangledPolynomialCode
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError
from tests.strategies import seeds

RANDOM = "exp:mean=1ms"


def noisy_low_rank(rows, columns, rank, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, rank)) @ rng.standard_normal((columns, rank)).T + noise * rng.standard_normal(
        (rows, columns)
    )


def optimum(matrix, rank):
    """Eckart-Young."""
    return float(np.sum(np.linalg.svd(matrix, compute_uv=False)[rank:] ** 2))


def centralised_iterates(matrix, rank, lam, count, seed=0):
    """(12) without any code, from a start of the size of the data."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram_matrix = tall.T @ tall
    unit = 4.0 ** np.ceil(np.log(np.abs(matrix).max()) / np.log(4.0))
    factor = np.sqrt(unit) * np.linalg.qr(np.random.default_rng(seed).standard_normal((tall.shape[1], rank)))[0]
    for _ in range(count):
        image = gram_matrix @ factor
        shifted = factor.T @ factor + lam * np.eye(rank)
        factor = image @ np.linalg.inv(np.linalg.solve(shifted, factor.T @ image) + lam * shifted)
        yield factor


def fit_with_iterates(matrix, cluster, **parameters):
    iterates, kind = [], PaperSweeps if parameters.get("protocol") == "paper" else FusedSweeps
    update = kind.update

    def watched(sweeps, *arguments):
        update(sweeps, *arguments)
        state = sweeps.state()
        iterates.append(state["factor"] if "factor" in state else state["basis"] @ state["coordinates"])

    with patch.object(kind, "update", watched):
        model = CodedALS(**parameters).fit(matrix, cluster)
    root = np.sqrt(4.0 ** np.ceil(np.log(np.abs(matrix).max()) / np.log(4.0)))
    return model, [root * iterate for iterate in iterates]


@pytest.mark.parametrize("protocol", ["fused", "paper"])
@pytest.mark.parametrize("points", ["circle", "real"])
@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize("shape", [(41, 23), (23, 41), (30, 30)])
def test_iterates_are_the_centralised_ones(protocol, points, lam, shape):
    matrix = noisy_low_rank(*shape, rank=4)
    model, iterates = fit_with_iterates(
        matrix, InlineCluster(14, RANDOM), rank=4, code=f"entangled:points={points}", partitions=3, protocol=protocol, solver="als",
        regularization=lam, iterations=6,
    )  # fmt: skip
    for found, expected in zip(iterates, centralised_iterates(matrix, 4, lam, 6), strict=False):
        assert np.linalg.norm(found - expected) <= 1e-8 * np.linalg.norm(expected)
    if lam == 0:
        assert model.objective_ == pytest.approx(optimum(matrix, 4), rel=1e-8)


@pytest.mark.parametrize("h", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("protocol", ["fused", "paper"])
@pytest.mark.parametrize("size", [(160, 100, 13), pytest.param((2400, 1500, 200), marks=pytest.mark.slow)])
def test_every_h_reaches_the_optimum_with_random_stragglers(h, protocol, size):
    """The larger size is the paper's own problem."""
    rank = size[2]
    matrix = noisy_low_rank(*size)
    model, iterates = fit_with_iterates(
        matrix, InlineCluster(int(1.3 * (h * h + h) / 2) + 1, RANDOM, seed=h), rank=rank, partitions=h,
        protocol=protocol, solver="als", iterations=5, precomputation="coded", tolerance=1e-11,
    )  # fmt: skip
    for found, expected in zip(iterates, centralised_iterates(matrix, rank, 0.0, 5), strict=False):
        assert np.linalg.norm(found - expected) <= 1e-8 * np.linalg.norm(expected)
    assert model.objective_ == pytest.approx(optimum(matrix, rank), rel=1e-10)


@pytest.mark.parametrize("protocol", ["fused", "paper"])
def test_real_points_at_h_6_are_refused_and_never_wrong(protocol):
    matrix = noisy_low_rank(60, 48, rank=5)
    with pytest.raises(DecodingError, match=r"estimated error is \d\.\de[-+]\d+\. Use .* points=circle"):
        CodedALS(5, code="entangled:h=6,points=real", protocol=protocol, solver="als").fit(
            matrix, InlineCluster(50, RANDOM)
        )


@pytest.mark.parametrize("code", ["auto", "replicated", "uncoded", "entangled", "entangled:p=7,r=1", "systematic:p=5"])
@pytest.mark.parametrize("solver", ["als", "lobpcg"])
@pytest.mark.parametrize("precomputation", ["local", "coded"])
@pytest.mark.parametrize("lam", [0.0, 2.0])
def test_all_codes_and_solvers_reach_the_same_product(code, solver, precomputation, lam):
    matrix = noisy_low_rank(40, 26, rank=6, noise=1.0)
    model = CodedALS(
        3, code=code, solver=solver, precomputation=precomputation, regularization=lam, tolerance=1e-12
    ).fit(matrix, InlineCluster(14, RANDOM))
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    expected = (left[:, :3] * np.maximum(sizes[:3] - lam, 0)) @ right[:3]
    found = model.user_factors_ @ model.item_factors_.T
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)
    penalty = lam * (np.sum(model.user_factors_**2) + np.sum(model.item_factors_**2))
    assert model.objective_ == pytest.approx(np.sum((matrix - found) ** 2) + penalty, rel=1e-10)
    best = np.sum((matrix - expected) ** 2) + 2 * lam * np.sum(np.maximum(sizes[:3] - lam, 0))
    assert model.objective_ == pytest.approx(best, rel=1e-8)


@given(seed=seeds, rows=st.integers(2, 14), columns=st.integers(2, 14), h=st.integers(1, 3), data=st.data())
@settings(max_examples=40)
def test_any_shape_reaches_the_optimum(seed, rows, columns, h, data):
    """Dimensions that h does not divide, tall and wide, ranks up to the full one."""
    rank = data.draw(st.integers(1, min(rows, columns)))
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    model = CodedALS(rank, partitions=min(h, rows, columns), seed=seed % 1000).fit(matrix)
    scale = float(np.sum(matrix**2))
    assert model.objective_ == pytest.approx(optimum(matrix, rank), rel=1e-6, abs=1e-10 * scale)
    assert model.user_factors_.shape == (rows, rank)


def test_history_never_rises_and_counts_responses():
    matrix = noisy_low_rank(50, 40, rank=10, noise=2.0)
    for solver in ("als", "lobpcg"):
        model = CodedALS(4, partitions=2, solver=solver).fit(matrix, InlineCluster(6, RANDOM))
        values = [entry.objective for entry in model.history_]
        assert all(late <= early * (1 + 1e-12) for early, late in pairwise(values))
        assert all(entry.responses == (3,) for entry in model.history_)
        assert model.converged_


def test_a_sparse_matrix_is_zeros_where_nothing_is_rated():
    rng = np.random.default_rng(3)
    ratings = sparse.random_array((60, 45), density=0.2, rng=rng, format="csr")
    model = CodedALS(5, precomputation="local").fit(ratings, InlineCluster(9, RANDOM))
    assert [record.label for record in model.rounds_] == ["E = D X"] * len(model.rounds_)
    assert model.objective_ == pytest.approx(optimum(ratings.toarray(), 5), rel=1e-7)
    seen = set(ratings.tocsr()[[3]].indices.tolist())
    assert seen.isdisjoint(model.recommend(3, 45).ids)


def test_a_saved_model_recommends_the_same(tmp_path):
    model = CodedALS(4, partitions=2).fit(noisy_low_rank(20, 15, 4))
    model.save(tmp_path / "model.npz")
    copy = load_model(tmp_path / "model.npz")
    for one, other in zip(
        copy.recommend(3, 5, filter_seen=False), model.recommend(3, 5, filter_seen=False), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert copy.get_params() == model.get_params()
    assert copy.history_ == model.history_
    assert (copy.converged_, copy.outcome_) == (model.converged_, model.outcome_)
    assert (copy.objective_, copy.code_) == (model.objective_, model.code_)


def test_dead_workers_are_an_error_at_once_when_too_many():
    with pytest.raises(NotEnoughWorkers, match="at least 10 workers must be able to respond; 9 are alive"):
        CodedALS(3, partitions=4).fit(noisy_low_rank(30, 20, 3), InlineCluster(12, "dead:n=3"))


MATRIX = noisy_low_rank(12, 10, 4)


@pytest.mark.parametrize(
    ("parameters", "workers", "message"),
    [
        ({"rank": 0}, 9, "rank must be a whole number of at least 1; got 0"),
        ({"rank": 11}, 9, r"rank must be between 1 and min\(rows, columns\) = 10; got 11"),
        (
            {"rank": 2, "partitions": 11},
            99,
            r"parts must be between 1 and min\(rows, columns\) = 10; got entangled:h=11",
        ),
        ({"rank": 2, "partitions": 4}, 9, "workers must be at least 10 for code entangled:h=4; got 9"),
        (
            {"rank": 2, "code": "entangled:points=square"},
            9,
            "points must be one of circle, real, equispaced; got 'square'",
        ),
        ({"rank": 2, "solver": "magic"}, 9, "solver must be one of .*als; got 'magic'"),
        ({"rank": 2, "protocol": "paper"}, 9, "protocol 'paper' is defined for solver 'als'"),
        (
            {"rank": 2, "protocol": "paper", "solver": "als", "code": "systematic"},
            9,
            "entangled code cut h x h; got code sys",
        ),
        (
            {"rank": 2, "protocol": "paper", "solver": "als", "code": "entangled:p=4,r=2"},
            9,
            "cut h x h; got code entangled:p",
        ),
        (
            {"rank": 2, "code": "replicated:copies=10"},
            9,
            "workers must be at least 10 for code replicated:copies=10; got 9",
        ),
        ({"rank": 2, "code": "systematic:p=10"}, 9, "workers must be at least 10 for code systematic:p=10; got 9"),
        ({"rank": 2, "code": "systematic:p=11"}, 99, r"p must be between 1 and min\(rows, columns\) = 10; got 11"),
        (
            {"rank": 2, "code": "fountain"},
            9,
            "code must be one of .*systematic; got 'fount",
        ),
        (
            {"rank": 2, "code": "uncoded", "partitions": 2},
            9,
            "partitions needs an entangled code.*got it with code unc",
        ),
        ({"rank": 2.5}, 9, "rank must be a whole number of at least 1; got 2.5"),
        ({"rank": 2, "partitions": 0}, 9, "partitions must be a whole number of at least 1; got 0"),
        ({"rank": 2, "seed": -1}, 9, "seed must be a whole number of at least 0; got -1"),
        ({"rank": 2, "regularization": -1.0}, 9, "regularization must be a number >= 0; got -1.0"),
        ({"rank": 2, "tolerance": float("nan")}, 9, "tolerance must be a number >= 0; got nan"),
        ({"rank": 2, "iterations": 0}, 9, "iterations must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_parameters_are_refused(parameters, workers, message):
    with pytest.raises(UsageError, match=message):
        CodedALS(**parameters).fit(MATRIX, InlineCluster(workers))


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (np.zeros((4, 3)), "must not all be zero"),
        (np.full((4, 3), np.nan), "must be finite; got nan at row 0, column 0"),
        (np.ones(4), "must be a real matrix; got shape"),
        (np.ones((0, 3)), "must be a matrix with rows and columns"),
        (np.array([["a", "b"]]), "must be a real matrix"),
        (np.full((4, 3), 1e200), "squares that are finite"),
    ],
)
def test_bad_matrices_are_refused(ratings, message):
    with pytest.raises(UsageError, match=message):
        CodedALS(1).fit(ratings)


def test_a_ridge_weight_below_rounding_is_one_that_fills_the_rank():
    matrix = (
        np.random.default_rng(0).standard_normal((23, 5)) @ np.random.default_rng(1).standard_normal((5, 19)) * 1e150
    )
    model = CodedALS(16, solver="als", regularization=3.0).fit(matrix)  # what is no factor of the data must not grow
    best = np.linalg.svd(matrix / 1e150)[1]
    assert np.linalg.norm((matrix - model.user_factors_ @ model.item_factors_.T) / 1e150) <= 1e-7 * np.linalg.norm(best)
    assert np.linalg.norm(model.user_factors_) == pytest.approx(np.sqrt(best.sum() * 1e150), rel=1e-6)


@pytest.mark.parametrize("solver", ["als", "lobpcg"])
def test_rank_above_the_rank_of_the_matrix_is_refused(solver):
    matrix = noisy_low_rank(30, 20, rank=3, noise=0.0)
    with pytest.raises(UsageError, match="here 3 as far as rounding can tell; got 5"):
        CodedALS(5, partitions=2, solver=solver).fit(matrix)
    assert CodedALS(3, partitions=2, solver=solver).fit(matrix).objective_ < 1e-15 * np.sum(matrix**2)


@pytest.mark.parametrize(
    ("name", "dense", "rank", "most_rounds"), [("ml-100k/u.data", False, 20, 16), ("jester", True, 10, 16)]
)
def test_real_ratings_in_few_rounds(shared_data, name, dense, rank, most_rounds):
    from coded_als.data import load_ratings

    source = shared_data / name if not dense else next((shared_data / name).glob("*.csv"))
    matrix = load_ratings(source, dense=dense, header=dense or None).matrix
    values = sparse.linalg.svds(matrix.astype(float), k=rank, return_singular_vectors=False)
    best = float(np.sum(matrix.data**2 if not dense else matrix**2) - np.sum(values**2))
    model = CodedALS(rank, partitions=4).fit(matrix, InlineCluster(16, RANDOM))
    assert model.objective_ == pytest.approx(best, rel=1e-8)
    assert len(model.rounds_) <= most_rounds


def test_encoding_counts_the_shares_that_are_made_while_they_are_taken(monkeypatch):
    """A code encodes lazily: its seconds are those of taking its shares."""
    cluster, encode = InlineCluster(6), EntangledPolynomialCode.encode_right
    late_s = 0.0
    monkeypatch.setattr(cluster, "seconds", lambda: late_s)

    def encode_slowly(self, matrix):
        nonlocal late_s
        for share in encode(self, matrix):
            late_s += 1.0
            yield share

    monkeypatch.setattr(EntangledPolynomialCode, "encode_right", encode_slowly)
    matrix = np.random.default_rng(0).standard_normal((30, 20))
    fitted = CodedALS(3, code="entangled:h=2", iterations=2, tolerance=0.0).fit(matrix, cluster)
    assert [entry.encoding_s for entry in fitted.history_] == [6.0, 6.0]
