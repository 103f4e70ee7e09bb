"""What all five sparse models promise."""

import numpy as np
import pytest
from scipy import sparse

from coded_als import load_model
from coded_als.baselines import BPR, SGD, WARP, ImplicitALS, RidgeALS
from coded_als.errors import UsageError

MODELS = [RidgeALS, ImplicitALS, SGD, BPR, WARP]
every_model = pytest.mark.parametrize("model_class", MODELS, ids=lambda model: model.kind)


def build(model_class, **changes):
    return model_class(**({"rank": 3, "iterations": 4, "dtype": "float64"} | changes))


@pytest.fixture
def matrix():
    generator = np.random.default_rng(0)
    dense = np.where(generator.random((15, 20)) < 0.4, generator.integers(1, 6, (15, 20)), 0).astype(float)
    dense[4] = 0
    dense[:, 7] = 0
    return sparse.csr_array(dense)


@every_model
def test_equal_seeds_give_equal_models_and_others_do_not(model_class, matrix):
    one, two, other = (build(model_class, seed=seed).fit(matrix) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.user_factors_, two.user_factors_)
    np.testing.assert_array_equal(one.item_factors_, two.item_factors_)
    assert not np.allclose(one.user_factors_, other.user_factors_)


@every_model
def test_shapes_history_and_callback(model_class, matrix):
    seen = []
    model = build(model_class).fit(matrix, callback=seen.append)
    assert model.user_factors_.shape == (15, 3)
    assert model.item_factors_.shape == (20, 3)
    assert seen == model.history_
    assert [iteration.index for iteration in seen] == [1, 2, 3, 4]
    assert all(np.isfinite(iteration.objective) for iteration in seen)
    assert seen[-1].objective < seen[0].objective
    assert all(iteration.seconds > 0 for iteration in seen)


@every_model
def test_recommendations_leave_out_what_was_seen(model_class, matrix):
    model = build(model_class).fit(matrix)
    seen = set(matrix.indices[matrix.indptr[2] : matrix.indptr[3]].tolist())
    recommended = model.recommend(2, n=20).ids.tolist()
    assert len(recommended) == 20 - len(seen)
    assert seen.isdisjoint(recommended)
    assert len(model.similar_items(3, n=4).ids) == len(model.similar_users(3, n=4).ids) == 4


@every_model
def test_a_user_without_ratings_has_no_factors_and_an_unseen_item_no_similarity(model_class, matrix):
    model = build(model_class).fit(matrix)
    np.testing.assert_array_equal(model.user_factors_[4], 0)
    assert np.isfinite(model.item_factors_).all()
    with pytest.raises(UsageError, match="must have ratings"):
        model.recommend(4)


@every_model
def test_a_saved_model_is_the_same_model(model_class, matrix, tmp_path):
    model = build(model_class).fit(matrix)
    model.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert type(loaded) is model_class
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    for one, other in zip(loaded.recommend(1), model.recommend(1), strict=True):
        np.testing.assert_array_equal(one, other)
    new = {3: 4.0, 5: 2.0}
    np.testing.assert_array_equal(loaded.fold_in(new).factors, model.fold_in(new).factors)


@every_model
def test_numpy_numbers_are_parameters_like_others(model_class, matrix, tmp_path):
    model = model_class(rank=np.int64(2), regularization=np.float32(0.25), iterations=np.int32(2), seed=np.uint8(3))
    model.fit(matrix).save(tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").get_params() == model.get_params()


@every_model
def test_a_new_user_gets_recommendations_like_those_of_a_like_user(model_class):
    """Two groups with tastes of their own: a newcomer to the first must be recommended the first group's items."""
    generator = np.random.default_rng(1)
    liked = np.zeros((60, 30), dtype=bool)
    liked[:30, :15] = generator.random((30, 15)) < 0.6
    liked[30:, 15:] = generator.random((30, 15)) < 0.6
    disliked = ~liked & (generator.random((60, 30)) < 0.2)
    explicit = model_class in (RidgeALS, SGD)
    dense = np.where(liked, 5.0, np.where(disliked, 1.0, 0.0)) if explicit else liked.astype(float)
    small = {} if model_class is ImplicitALS else {"regularization": 0.02}
    model = build(model_class, iterations=30, **small).fit(sparse.csr_array(dense))
    new = {0: 5.0, 1: 5.0, 2: 5.0} | ({20: 1.0} if explicit else {})
    recommended = model.recommend_new(new, n=5).ids.tolist()
    assert sum(item < 15 for item in recommended) >= 4
    assert not {0, 1, 2}.intersection(recommended)


@every_model
def test_fold_in_takes_many_users_and_leaves_the_model_alone(model_class, matrix):
    model = build(model_class).fit(matrix)
    before = model.item_factors_.copy()
    new = model.fold_in(matrix, method="sgd")
    assert new.factors.shape == (15, 3)
    assert model.score_new(new).shape == (15, 20)
    np.testing.assert_array_equal(model.item_factors_, before)


@pytest.mark.parametrize("model_class", [BPR, WARP])
def test_models_without_a_closed_form_say_so(model_class, matrix):
    with pytest.raises(UsageError, match="method must be one of sgd; got 'exact'"):
        build(model_class).fit(matrix).fold_in({1: 1.0}, method="exact")


def test_exact_fold_in_of_sgd_minimises_its_loss(matrix):
    model = build(SGD, regularization=0.1).fit(matrix)
    new = model.fold_in({1: 5.0, 2: 3.0, 8: 1.0})

    def loss(factors, bias):
        values = zip((1, 2, 8), (5.0, 3.0, 1.0), strict=True)
        return sum(
            (r - model.global_mean_ - model.item_biases_[i] - bias - factors @ model.item_factors_[i]) ** 2
            + 0.1 * (factors @ factors + bias**2)
            for i, r in values
        )

    least = loss(new.factors[0], new.biases[0])
    for step in 1e-3 * np.random.default_rng(0).standard_normal((20, 4)):
        assert loss(new.factors[0] + step[:3], new.biases[0] + step[3]) > least


BAD_PARAMETERS = [
    {"rank": 0},
    {"rank": -2},
    {"rank": 2.5},
    {"rank": True},
    {"iterations": 0},
    {"seed": -1},
    {"regularization": -1.0},
    {"regularization": float("nan")},
    {"regularization": "much"},
    {"dtype": "float16"},
]


@every_model
@pytest.mark.parametrize("bad", BAD_PARAMETERS, ids=str)
def test_bad_parameters_are_refused_in_one_line(model_class, bad):
    with pytest.raises(UsageError) as caught:
        build(model_class, **bad)
    assert next(iter(bad)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_class", "bad"),
    [
        (RidgeALS, {"regularization_scaling": "sum"}),
        (RidgeALS, {"solver": "lu"}),
        (RidgeALS, {"threads": 0}),
        (RidgeALS, {"regularization": 0.0}),
        (RidgeALS, {"cg_steps": 0}),
        (RidgeALS, {"bias_regularization": 0.0}),
        (ImplicitALS, {"alpha": 0.0}),
        (ImplicitALS, {"alpha": 1.0, "unobserved_weight": 0.1}),
        (ImplicitALS, {"unobserved_weight": 0.0}),
        (ImplicitALS, {"frequency_exponent": -1.0}),
        (SGD, {"learning_rate": 0.0}),
        (WARP, {"max_samples": 0}),
    ],
    ids=str,
)
def test_bad_parameters_of_their_own(model_class, bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        build(model_class, **bad)


@every_model
@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (sparse.csr_array((4, 3)), "at least one entry"),
        (sparse.csr_array(np.array([[1.0, np.nan], [2.0, 0.0]])), "got nan at row 0, column 1"),
        (np.array([[1.0, np.inf]]), "finite"),
        (np.ones(3), "real matrix"),
        (np.array([["a"]]), "real matrix"),
    ],
    ids=["empty", "nan", "infinite", "vector", "text"],
)
def test_bad_ratings_are_refused_in_one_line(model_class, ratings, message):
    with pytest.raises(UsageError, match=message) as caught:
        build(model_class).fit(ratings)
    assert "\n" not in str(caught.value)


@every_model
def test_using_a_model_before_fitting_it_is_refused(model_class):
    with pytest.raises(UsageError, match="fitted"):
        build(model_class).fold_in({1: 2.0})


@every_model
def test_unknown_items_and_wrong_widths_are_refused(model_class, matrix):
    model = build(model_class).fit(matrix)
    with pytest.raises(UsageError, match="item"):
        model.fold_in({99: 1.0})
    with pytest.raises(UsageError, match="one column per item, 20; got 19"):
        model.fold_in(matrix[:, :19])


def test_negative_confidence_is_refused(matrix):
    with pytest.raises(UsageError, match="greater than 0 with alpha"):
        build(ImplicitALS, alpha=1.0).fit(-matrix)


@pytest.mark.parametrize(
    ("model_class", "changes"),
    [
        (SGD, {"learning_rate": 50.0, "iterations": 200}),
        (BPR, {"learning_rate": 1e160}),
        (WARP, {"learning_rate": 1e160}),
        (BPR, {"learning_rate": 100.0}),  # every number stays finite
        (WARP, {"learning_rate": 100.0}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_divergence_is_an_error_and_not_a_model(model_class, changes, matrix):
    model = build(model_class, **changes)
    with pytest.raises(UsageError, match="Lower learning_rate"):
        model.fit(matrix)
    with pytest.raises(UsageError, match="must be fitted"):
        model.recommend(0)


def test_sgd_knows_nothing_of_what_nobody_rated(matrix):
    """The random start of an item or user without ratings must not become a taste."""
    model = build(SGD).fit(matrix)
    assert not model.item_factors_[7].any()
    assert not model.user_factors_[4].any()
    assert model.item_biases_[7] == model.user_biases_[4] == 0


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_drift_is_relative_to_the_exact_rows(size, matrix):
    model = build(RidgeALS, biases=False, regularization=0.5 * size).fit(matrix * size)
    exact, quick = (model.fold_in(matrix * size, method=method).factors for method in ("exact", "sgd"))
    gaps, lengths = (np.sqrt(np.square(rows).sum(axis=1)) for rows in (quick - exact, exact))
    drift = model.drift(matrix * size)
    rated = np.diff(matrix.indptr) > 0
    np.testing.assert_allclose(drift[rated], (gaps / np.where(lengths > 0, lengths, 1))[rated], rtol=1e-12)
    assert (drift[~rated] == 0).all()
    assert drift[rated].min() > 1e-3


def test_repeated_entries_are_summed_and_dense_matrices_welcome(matrix):
    entries = matrix.tocoo()
    halves = sparse.coo_array(
        (np.tile(entries.data / 2, 2), (np.tile(entries.row, 2), np.tile(entries.col, 2))), shape=matrix.shape
    )
    plain, doubled, dense = (build(RidgeALS).fit(given) for given in (matrix, halves, matrix.toarray()))
    np.testing.assert_allclose(doubled.user_factors_, plain.user_factors_)
    np.testing.assert_array_equal(dense.user_factors_, plain.user_factors_)


@pytest.mark.parametrize("size", [4.0**-100, 4.0**100])
@pytest.mark.parametrize("biases", [True, False])
def test_ratings_that_single_precision_cannot_hold_are_refused_with_a_remedy(size, biases, matrix):
    arguments = {"biases": biases, "bias_regularization": 0.5}
    with pytest.raises(UsageError, match="dtype='float64'"):
        build(RidgeALS, dtype="float32", regularization=0.5 * size, **arguments).fit(matrix * size)
    double, plain = (
        build(RidgeALS, dtype="float64", regularization=0.5 * unit, **arguments).fit(matrix * unit)
        for unit in (size, 1.0)
    )
    rows, columns = matrix.nonzero()
    np.testing.assert_allclose(
        double.predict_pairs(rows, columns) / size, plain.predict_pairs(rows, columns), rtol=1e-6, atol=1e-9
    )
