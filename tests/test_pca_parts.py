"""Components of arrays in parts: memory maps, small types, zarr and Dask, against those of the whole array."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from coded_als import CodedPCA, CodedTruncatedSVD, UsageError
from coded_als.als import row_parts
from coded_als.als.row_parts import LocalParts, PartsProblem, adjoint_of
from tests.test_pca import decaying


def tied(values: list[float]) -> np.ndarray:
    """A matrix of columns with mean 0 and these singular values."""
    generator = np.random.default_rng(7)
    left, right = (generator.standard_normal((rows, len(values))) for rows in (90, 30))
    return np.asarray(np.linalg.qr(left - left.mean(axis=0))[0] * values @ np.linalg.qr(right)[0].T)


DATA: dict[str, np.ndarray] = {
    "float32": decaying(2).astype(np.float32),
    "int8": np.random.default_rng(3).integers(-100, 100, (80, 20)).astype(np.int8),
    "offset": decaying(4) + 1e6,
    "constant columns": np.hstack([decaying(5), np.full((90, 3), 0.1)]),
    "low rank": np.outer(np.arange(50.0), [3.0, 0.0, 4.0, 1.0]),
    "large numbers": decaying(6) * 1e120,
    "nothing": np.full((40, 5), 0.3),
    "a tie": tied([3.0, *[2.0] * 6, *[1.0] * 23]) + 5.0,
}


@pytest.fixture(params=DATA)
def data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr(row_parts, "AT_ONCE", 500)  # several panels
    return DATA[request.param]


def mapped(data: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "data.npy", data)
    found: np.ndarray = np.load(folder / "data.npy", mmap_mode="r")
    return found


def agree(ours: Any, theirs: Any, data: np.ndarray, given: Any) -> None:
    assert ours.converged_ or ours.outcome_ == "undecided"
    size = np.abs(data).max()
    rel = 1e-8 if ours.converged_ else 1e-4
    for name in ("explained_variance_", "singular_values_"):
        expected = getattr(theirs, name)
        least = 1e-12 * size ** (2 if name == "explained_variance_" else 1) * len(data)
        assert getattr(ours, name) == pytest.approx(expected, rel=rel, abs=least), name
    assert ours.transform(given).shape == (len(data), ours.rank)


def test_components_of_a_memory_map_are_those_of_the_array(data: np.ndarray, tmp_path: Path) -> None:
    given, rank = mapped(data, tmp_path), 3
    ours, wide = CodedPCA(rank).fit(given), data.astype(np.float64)
    agree(ours, PCA(rank, svd_solver="full").fit(wide), wide, given)
    np.testing.assert_allclose(ours.mean_, wide.mean(axis=0), rtol=1e-12, atol=1e-12)
    plain = CodedTruncatedSVD(rank).fit(given)
    expected, size = np.linalg.svd(wide / np.abs(wide).max(), compute_uv=False)[:rank], np.abs(wide).max()
    np.testing.assert_allclose(plain.singular_values_, expected * size, rtol=1e-7, atol=1e-6 * size)


def test_a_dask_array_gives_what_the_whole_array_gives(dask_client: Any) -> None:
    array = pytest.importorskip("dask.array")
    for name in ("float32", "offset", "int8"):
        data = DATA[name]
        for chunks in ((17, -1), (30, 7), (-1, -1)):
            given = array.from_array(data, chunks=chunks)
            ours = CodedPCA(3, parameters={"code": "replicated:copies=2"}).fit(given)
            agree(ours, PCA(3, svd_solver="full").fit(data.astype(np.float64)), data.astype(np.float64), given)
    with pytest.raises(UsageError, match="unknown sizes"):
        CodedPCA(2).fit(given[given[:, 0] > 0])


def test_a_zarr_array_is_read_by_chunks(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    data = DATA["float32"]
    stored = zarr.create_array(str(tmp_path / "z"), shape=data.shape, chunks=(20, 40), dtype="f4")
    stored[:] = data
    agree(CodedPCA(3).fit(stored), PCA(3, svd_solver="full").fit(data.astype(float)), data.astype(float), stored)


class Sliced:
    """An array of another library: rows by slices, and nothing else."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.shape, self.dtype, self.chunks, self.most = data, data.shape, data.dtype, (16, 8), 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.most = max(self.most, rows.stop - rows.start)
        return self._data[rows]


def test_an_array_of_another_library_is_read_by_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_parts, "AT_ONCE", 500)
    given = Sliced(DATA["float32"])
    wide = DATA["float32"].astype(float)
    agree(CodedPCA(3).fit(given), PCA(3, svd_solver="full").fit(wide), wide, given)
    assert given.most == 16


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_no_copy_of_the_whole_is_made(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.pca.LARGE", 2**20)
    data = np.random.default_rng(0).integers(-9, 9, (20_000, 200)).astype(dtype)
    monkeypatch.setattr(row_parts, "AT_ONCE", 2**16)
    CodedPCA(2).fit(data[:6000])  # what is imported on first use is no part of it
    tracemalloc.start()
    CodedPCA(2).fit(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # coordinates of the rows and some rows at a time, and no 32 MB of float64
    assert most < 16e6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    data = np.ones((30, 4))
    data[7, 2] = bad
    with pytest.raises(UsageError, match="column 2"):
        CodedPCA(2).fit(mapped(data, tmp_path))


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 9 rows"):
        CodedPCA(9).fit(mapped(np.ones((8, 4)), tmp_path))
    fitted = CodedPCA(2).fit(mapped(decaying(0), tmp_path))
    with pytest.raises(UsageError, match="40 columns"):
        fitted.transform(mapped(np.ones((8, 4)), tmp_path))


def test_products_of_parts_are_those_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_parts, "AT_ONCE", 300)
    data = decaying(7) + 5
    problem = PartsProblem.of_parts(LocalParts(data), True)
    centred = (data - data.mean(axis=0)) / problem.unit
    left, right = np.random.default_rng(0).standard_normal((90, 3)), np.random.default_rng(1).standard_normal((40, 3))
    np.testing.assert_allclose(problem.gram, centred.T @ centred, atol=1e-10 * np.abs(problem.gram).max())
    np.testing.assert_allclose(problem.image(right), centred @ right, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(problem.gram_product(right), centred.T @ (centred @ right), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(problem.adjoint(left), centred.T @ left, rtol=1e-9, atol=1e-9)
    assert problem.squared_error(left, right) == pytest.approx(np.sum((centred - left @ right.T) ** 2))
    assert problem.squared_norm == pytest.approx(np.sum(centred**2))
    assert adjoint_of(data, left, None, 1.0).shape == (40, 3)
