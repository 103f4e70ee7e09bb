"""`CodedPCA` and `CodedTruncatedSVD` against scikit-learn and LAPACK."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from coded_als import CodedPCA, CodedTruncatedSVD, SimulatedCluster, UsageError


def decaying(seed: int, rows: int = 90, columns: int = 40) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal((rows, columns))
        @ np.diag(0.85 ** np.arange(columns))
        @ generator.standard_normal((columns, columns))
    )


DATA: dict[str, Any] = {
    "dense": decaying(0),
    "wide": decaying(1, 30, 70),
    "float32": decaying(2).astype(np.float32),
    "int8": np.random.default_rng(3).integers(-100, 100, (80, 20)).astype(np.int8),
    "offset": decaying(4) + 1e4,
    "constant columns": np.hstack([decaying(5), np.full((90, 3), 7.0)]),
    "sparse": sparse.random_array((120, 50), density=0.1, random_state=np.random.default_rng(6), format="csr"),
    "sparse offset": sparse.csr_array(
        (np.random.default_rng(7).random((100, 30)) < 0.3) * (1e3 + np.random.default_rng(8).random((100, 30)))
    ),
}


def dense(data: Any) -> np.ndarray:
    return np.asarray(data.toarray() if sparse.issparse(data) else data, dtype=np.float64)


@pytest.mark.parametrize("name", DATA)
def test_components_are_those_of_scikit_learn(name: str) -> None:
    data = DATA[name]
    rank = 6
    ours, theirs = CodedPCA(rank).fit(data), PCA(rank, svd_solver="full").fit(dense(data))
    assert ours.converged_, ours.outcome_
    assert ours.mean_ == pytest.approx(theirs.mean_, rel=1e-12, abs=1e-12)
    for attribute in ("explained_variance_", "explained_variance_ratio_", "singular_values_", "noise_variance_"):
        assert getattr(ours, attribute) == pytest.approx(getattr(theirs, attribute), rel=1e-8), attribute
    cosines = np.abs(np.sum(ours.components_ * theirs.components_, axis=1))
    assert cosines == pytest.approx(np.ones(rank), abs=1e-7)
    assert (ours.components_[np.arange(rank), np.abs(ours.components_).argmax(axis=1)] > 0).all()
    assert np.abs(ours.components_ @ ours.components_.T - np.eye(rank)).max() < 1e-10
    signs = np.sign(np.sum(ours.components_ * theirs.components_, axis=1))
    there, size = ours.transform(data), theirs.singular_values_[0]
    assert np.abs(there * signs - theirs.transform(dense(data))).max() <= 1e-6 * size
    back = theirs.inverse_transform(theirs.transform(dense(data)))
    assert np.abs(ours.inverse_transform(there) - back).max() <= 1e-6 * size
    assert (ours.n_components_, ours.n_samples_, ours.n_features_in_) == (rank, *data.shape)


@pytest.mark.parametrize("name", [name for name in DATA if "offset" not in name])
def test_singular_vectors_are_those_of_scikit_learn(name: str) -> None:
    data = DATA[name]
    ours, theirs = CodedTruncatedSVD(5).fit(data), TruncatedSVD(5, algorithm="arpack", random_state=0).fit(dense(data))
    assert ours.singular_values_ == pytest.approx(np.linalg.svd(dense(data), compute_uv=False)[:5], rel=1e-9)
    for attribute in ("explained_variance_", "explained_variance_ratio_"):
        assert getattr(ours, attribute) == pytest.approx(getattr(theirs, attribute), rel=1e-6), attribute
    assert np.abs(np.sum(ours.components_ * theirs.components_, axis=1)) == pytest.approx(np.ones(5), abs=1e-7)
    assert ours.fit_transform(data).shape == (data.shape[0], 5)


def test_variances_that_are_zero_are_said_to_be() -> None:
    generator = np.random.default_rng(0)
    data = 5 + generator.standard_normal((30, 2)) @ generator.standard_normal((2, 9))
    ours, theirs = CodedPCA(4).fit(data), PCA(4, svd_solver="full").fit(data)
    assert ours.explained_variance_[:2] == pytest.approx(theirs.explained_variance_[:2], rel=1e-10)
    assert ours.explained_variance_[2:] == pytest.approx([0, 0], abs=1e-20)
    assert np.abs(ours.components_ @ ours.components_.T - np.eye(4)).max() < 1e-10
    nothing = CodedPCA(2).fit(np.full((8, 5), 3.0))
    assert nothing.explained_variance_.tolist() == [0, 0]
    assert np.abs(nothing.components_ @ nothing.components_.T - np.eye(2)).max() < 1e-12
    with pytest.raises(ValueError, match="minimum of 2"):
        CodedPCA(1).fit(np.ones((1, 4)))


def test_float64_that_cannot_tell_says_so() -> None:
    data = 1e6 + 1e-9 * np.random.default_rng(0).standard_normal((40, 20))
    try:
        model = CodedPCA(3).fit(data)
    except UsageError:
        return
    assert not model.converged_ or np.allclose(
        model.explained_variance_, PCA(3, svd_solver="full").fit(data).explained_variance_, rtol=1e-6, atol=1e-18
    )


def test_stragglers_and_codes_change_nothing() -> None:
    data = decaying(9)
    pca = CodedPCA(3, parameters={"code": "systematic:p=4"}).fit(
        data, cluster=SimulatedCluster(6, delays="dead:n=1", seed=0)
    )
    assert pca.model_.code_.startswith("systematic:p=4")
    assert pca.explained_variance_ == pytest.approx(PCA(3, svd_solver="full").fit(data).explained_variance_, rel=1e-8)


@pytest.mark.parametrize("estimator", [CodedPCA(1), CodedTruncatedSVD(1)])
def test_scikit_learn_has_nothing_to_complain_of(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None)
    assert {one["check_name"]: one["exception"] for one in results if one["status"] == "failed"} == {}
    assert len(results) > 40
    line = make_pipeline(clone(estimator))
    assert line.fit_transform(decaying(1)).shape == (90, 1)
