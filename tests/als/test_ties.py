"""Equal singular values at the cut: the product is the same whoever was slow, and the model says that there are others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, InlineCluster, SimulatedCluster, load_model
from coded_als.als.problem import Problem
from coded_als.als.ties import nearest, resolved
from coded_als.cli import main
from tests.als.test_convergence import excess, with_spectrum
from tests.strategies import seeds


def identity_and_low_rank():
    left = np.random.default_rng(0).standard_normal((24, 2))
    return np.eye(24) + left @ left.T


TIED = {
    "identity and low rank": (identity_and_low_rank(), 5, 22),
    "repeated blocks": (np.kron(np.eye(6), np.random.default_rng(0).standard_normal((6, 4))), 7, 6),
    "twelve equal": (with_spectrum(np.r_[3.0, np.full(12, 2.0), np.geomspace(1, 0.1, 17)]), 6, 12),
    "twelve equal, all but one": (with_spectrum(np.r_[3.0, np.full(12, 2.0), np.geomspace(1, 0.1, 17)]), 12, 12),
    "a pair": (with_spectrum(np.r_[3.0, 2.0, 2.0, np.geomspace(1, 0.1, 27)]), 2, 2),
    "indicators": (np.kron(np.eye(10), np.ones((3, 2))), 4, 10),
    "the identity": (np.eye(30, 20), 4, 20),
}
UNTIED = {
    "equal ones inside": (with_spectrum(np.r_[3.0, 3.0, 3.0, 2.0, 2.0, np.geomspace(1, 0.1, 25)]), 5),
    "nearly equal at the cut": (with_spectrum(np.r_[3.0, 2 + 1e-6, 2.0, np.geomspace(1, 0.1, 27)]), 2),
    "equal ones behind the cut": (with_spectrum(np.r_[3.0, 2.0, np.full(9, 1.0), np.geomspace(0.5, 0.1, 19)]), 2),
    "nothing but zeros behind": (with_spectrum(np.r_[3.0, 2.0, 1.0, 1e-3, 1e-3, np.zeros(25)]), 3),
}
WAYS = [
    {"code": "systematic:p=5", "seed": 0},
    {"code": "systematic:p=6", "seed": 1, "precomputation": "coded"},
    {"code": "entangled:h=2", "seed": 2},
    {"code": "replicated:copies=3", "seed": 3, "precomputation": "none"},
]


def product_of(model):
    return model.user_factors_ @ model.item_factors_.T


def fits(matrix, rank, ways=WAYS, **parameters):
    """The same problem with other codes, starts and delays, on an inline cluster and a virtual clock."""
    for place, way in enumerate(ways):
        given = sparse.csr_array(matrix) if way.get("precomputation") == "none" else matrix
        cluster = (InlineCluster, SimulatedCluster)[place % 2](9, "exp:mean=1ms", seed=place)
        yield CodedALS(rank, **(way | parameters)).fit(given, cluster)


def best_part(matrix, rank, lam):
    """What every best product has in common: the projection of it on the singular vectors above the tie."""
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    above = sizes > sizes[rank - 1] * (1 + 1e-6)
    return left[:, above], (left[:, above] * (sizes[above] - lam)) @ right[above], sizes


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("name", TIED)
def test_the_product_is_the_same_and_is_said_not_to_be_the_only_one(name, lam):
    matrix, rank, multiplicity = TIED[name]
    models = list(fits(matrix, rank, regularization=lam))
    above, common, sizes = best_part(matrix, rank, lam)
    for model in models:
        assert (model.outcome_, model.unique_) == ("converged", False)
        np.testing.assert_allclose(model.tied_values_, np.full(multiplicity, sizes[rank - 1]), rtol=1e-9)
        np.testing.assert_allclose(product_of(model), product_of(models[0]), atol=1e-9)
        np.testing.assert_allclose(above @ (above.T @ product_of(model)), common, atol=1e-9)
        assert excess(model, matrix) <= 2 * model.tolerance


@pytest.mark.parametrize("name", ["repeated blocks", "a pair"])
def test_the_papers_update_makes_the_same_choice(name):
    matrix, rank, _ = TIED[name]
    ways = [
        WAYS[0],
        {"code": "systematic:p=5", "solver": "als"},
        {"partitions": 2, "solver": "als", "protocol": "paper"},
    ]
    models = list(fits(matrix, rank, ways, iterations=2000))
    for model in models:
        assert (model.outcome_, model.unique_) == ("converged", False)
        np.testing.assert_allclose(product_of(model), product_of(models[0]), atol=1e-6)


@pytest.mark.parametrize("name", UNTIED)
def test_where_the_cut_lies_between_different_values_the_product_is_the_only_one(name):
    matrix, rank = UNTIED[name]
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    for model in fits(matrix, rank):
        if model.converged_:
            assert (model.unique_, model.tied_values_) == (True, ())
        else:
            assert (model.unique_, name) == (None, "nothing but zeros behind")
        np.testing.assert_allclose(product_of(model), (left[:, :rank] * sizes[:rank]) @ right[:rank], atol=3e-4)


def test_what_a_ridge_weight_shrinks_to_nothing_is_no_tie():
    matrix = with_spectrum(np.r_[3.0, np.full(12, 1.0), np.geomspace(0.5, 0.1, 17)])
    for model in fits(matrix, 4, regularization=1.0):
        assert (model.outcome_, model.unique_) == ("converged", True)


def test_a_tie_wider_than_any_block_is_told_and_not_chosen_from():
    matrix = np.eye(130)
    matrix[0, 0] = 2.0
    model = CodedALS(4).fit(matrix)
    assert (model.outcome_, model.unique_) == ("converged", False)
    assert len(model.tied_values_) >= 60
    cut = resolved(Problem(matrix, False), np.linalg.qr(np.random.default_rng(0).standard_normal((130, 9)))[0], 4, 1e-6)
    assert not cut.chosen


@pytest.mark.parametrize(
    ("length", "rank", "first", "last"), [(21, 7, 5, 18), (15, 1, 0, 14), (22, 8, 0, 20), (9, 2, 1, 8)]
)
def test_no_direction_of_a_tie_that_fills_most_of_the_space_is_missed(length, rank, first, last):
    rng = np.random.default_rng(length)
    values = np.r_[np.linspace(4, 3, first), np.full(last - first, 2.0), np.linspace(1.5, 0.3, length - last)]
    axes = np.linalg.qr(rng.standard_normal((length, length)))[0]
    problem = Problem((axes * values) @ axes.T, False)
    width, found = min(rank + 5, last), []
    for _ in range(40):
        inside = axes[:, first:last] @ np.linalg.qr(rng.standard_normal((last - first, width - first)))[0]
        found.append(resolved(problem, np.hstack([axes[:, :first], inside]), rank, 1e-3))
    assert {(cut.chosen, cut.tied.size) for cut in found} == {(True, last - first)}
    for cut in found:
        np.testing.assert_allclose(cut.basis @ cut.basis.T, found[0].basis @ found[0].basis.T, atol=1e-6)


@given(seed=seeds, dimension=st.integers(1, 12), data=st.data())
@settings(max_examples=40)
def test_the_nearest_vectors_depend_on_the_space_and_not_on_its_basis(seed, dimension, data):
    rng = np.random.default_rng(seed)
    count = data.draw(st.integers(1, dimension))
    space = np.linalg.qr(rng.standard_normal((20, dimension)))[0]
    turned = space @ np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    found, again = nearest(space, count), nearest(turned, count)
    assert found.shape == (20, count)
    np.testing.assert_allclose(found.T @ found, np.eye(count), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found @ found.T, again @ again.T, atol=1e-8)
    np.testing.assert_allclose(space @ (space.T @ found), found, atol=1e-12)


@given(seed=seeds, above=st.integers(0, 4), multiplicity=st.integers(2, 9), data=st.data())
@settings(max_examples=25)
def test_any_start_near_the_leading_space_ends_with_the_same_vectors(seed, above, multiplicity, data):
    rng = np.random.default_rng(seed)
    rank = above + data.draw(st.integers(1, multiplicity - 1))
    values = np.r_[5.0 + np.arange(above)[::-1], np.full(multiplicity, 2.0), np.geomspace(1.5, 0.01, 25)]
    vectors = np.linalg.qr(rng.standard_normal((values.size, values.size)))[0]
    problem = Problem(np.sqrt(values)[:, np.newaxis] * vectors.T, False)
    cuts = []
    for _ in range(2):
        start = vectors[:, : rank + 3] + 1e-3 * rng.standard_normal((values.size, rank + 3))
        cuts.append(resolved(problem, np.linalg.qr(start)[0], rank, 1e-8))
    for cut in cuts:
        assert cut.chosen
        assert cut.tied.size == multiplicity
        assert cut.basis.shape == (values.size, rank)
        assert cut.lost <= 1e-12
        np.testing.assert_allclose(cut.basis @ cut.basis.T, cuts[0].basis @ cuts[0].basis.T, atol=1e-7)


def test_saved_models_keep_it_and_the_command_says_it(tmp_path):
    matrix, rank, multiplicity = TIED["a pair"]
    np.save(tmp_path / "tied.npy", matrix)
    command = ["fit", str(tmp_path / "tied.npy"), "--rank", str(rank), "--cluster", "inline", "--workers", "4"]
    told = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "model.npz")])
    assert "2 singular values are equal at the cut" in told.stdout
    loaded = load_model(tmp_path / "model.npz")
    assert (loaded.unique_, len(loaded.tied_values_)) == (False, multiplicity)
    document = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert document["unique"] is False
    assert document["tied_values"] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("length", "rank", "equal"), [(8, 1, 3), (11, 4, 6)])
def test_a_tie_is_told_though_the_guards_have_not_settled(length: int, rank: int, equal: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((25, length)))[0]
    right = np.linalg.qr(rng.standard_normal((length, length)))[0]
    values = np.linspace(1.5, 0.5, length)
    values[:equal] = 2.0
    ratings = (left * values) @ right.T
    models = [
        CodedALS(rank, code=code, seed=start).fit(ratings, InlineCluster(7))
        for start, code in enumerate(("systematic:p=3", "replicated:copies=2"))
    ]
    assert [model.unique_ for model in models] == [False, False]
    products = [model.user_factors_ @ model.item_factors_.T for model in models]
    np.testing.assert_allclose(products[0], products[1], atol=1e-9)
