"""Matrices in files, synthetic problems, and files that are none of these."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.data import lines, load_ratings
from coded_als.errors import UsageError

file_settings = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SUFFIXES = ["txt", "csv.gz", "npz", "npy", "mtx", "mtx.gz"]


def refusal(source: str | Path, **options: bool) -> str:
    with pytest.raises(UsageError) as caught:
        load_ratings(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_or_refused(path: Path, dense: bool) -> None:
    """Whatever the bytes: ratings, or one line that says why not."""
    try:
        data = load_ratings(path, dense=dense)
    except UsageError as error:
        message = str(error)
    else:
        assert data.entries > 0
        message = "read"
    assert "\n" not in message


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("container", ["array", "matrix"])
def test_sparse_npz(tmp_path: Path, form: str, container: str) -> None:
    dense = np.array([[0, 2, 0], [3, 0, 0.5]])
    matrix = sparse.coo_array(dense) if container == "array" else sparse.coo_matrix(dense)
    sparse.save_npz(tmp_path / "r.npz", matrix.asformat(form))
    data = load_ratings(tmp_path / "r.npz")
    assert isinstance(data.matrix, sparse.csr_array)
    assert data.matrix.dtype == np.float64
    np.testing.assert_array_equal(data.matrix.toarray(), dense)
    assert data.user_ids.tolist() == [0, 1]


def test_stored_zeros_stay_ratings(tmp_path: Path) -> None:
    sparse.save_npz(tmp_path / "r.npz", sparse.csr_array(([0.0, 2.0], ([0, 1], [1, 0])), shape=(2, 2)))
    assert load_ratings(tmp_path / "r.npz").entries == 2


@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "uint16", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, dtype: str, order: str) -> None:
    matrix = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype, order=order)
    np.save(tmp_path / "r.npy", matrix)
    data = load_ratings(tmp_path / "r.npy")
    assert type(data.matrix) is np.ndarray
    assert data.matrix.dtype == np.float64
    assert data.matrix.flags.c_contiguous
    np.testing.assert_array_equal(data.matrix, matrix)


@pytest.mark.parametrize("name", ["r.mtx", "r.mtx.gz"])
def test_mtx(tmp_path: Path, name: str) -> None:
    dense = np.array([[0, 2, 0], [3, 0, 0.5]])
    scipy.io.mmwrite(tmp_path / "r.mtx", sparse.coo_array(dense))
    (tmp_path / "r.mtx.gz").write_bytes(gzip.compress((tmp_path / "r.mtx").read_bytes()))
    data = load_ratings(tmp_path / name)
    np.testing.assert_array_equal(data.matrix.toarray(), dense)


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("field", ["real", "integer", "pattern"])
# SciPy 1.18 warns where the class of its result is not named, and earlier ones do not take the name
@pytest.mark.filterwarnings("ignore:.*spmatrix:DeprecationWarning")
def test_mtx_means_what_scipy_reads(tmp_path: Path, symmetry: str, field: str) -> None:
    lower = np.tril(np.random.default_rng(0).integers(-1, 3, (5, 5)), -1).astype(float)
    dense = {"general": lower, "symmetric": lower + lower.T, "skew-symmetric": lower - lower.T}[symmetry]
    path = tmp_path / "r.mtx"
    scipy.io.mmwrite(path, sparse.coo_array(dense), comment="a comment\n", field=field, symmetry=symmetry)
    np.testing.assert_array_equal(load_ratings(path).matrix.toarray(), scipy.io.mmread(path).toarray())


def test_dense_mtx(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    scipy.io.mmwrite(tmp_path / "r.mtx", matrix)
    np.testing.assert_array_equal(load_ratings(tmp_path / "r.mtx").matrix, matrix)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must begin with"),
        ("1 2 3\n", "must begin with"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 1\n", "real, integer or pattern"),
        ("%%MatrixMarket matrix array real symmetric\n1 1\n1\n", "real, integer or pattern"),
        (
            "%%MatrixMarket matrix coordinate real general\n%\n2 2\n1 1 1\n",
            "3 sizes after its comments; got '2 2' in line 3",
        ),
        ("%%MatrixMarket matrix coordinate real general\n", "3 sizes"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n", "header says, 2; r.mtx has 1"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 3 1\n", "got 1 3 in line 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n0 1 1\n", "got 0 1 in line 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1.5 1 1\n", "got 1.5 1 in line 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1\n", "every line must have 3 fields"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "'nan' in line 3"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 3 1\n1 3 1\n", "must be square"),
        ("%%MatrixMarket matrix array real general\n1 2\n1\n", "header says, 2; r.mtx has 1"),
    ],
)
def test_bad_mtx(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.mtx").write_text(content)
    assert message in refusal(tmp_path / "r.mtx")


def test_matrices_that_are_refused(tmp_path: Path) -> None:
    def npy(array: np.ndarray, **options: bool) -> str:
        np.save(tmp_path / "r.npy", array, **options)
        return refusal(tmp_path / "r.npy")

    assert "two dimensions" in npy(np.ones(3))
    assert "two dimensions" in npy(np.ones((2, 2, 2)))
    assert "real numbers" in npy(np.ones((2, 2)) * 1j)
    assert "real numbers" in npy(np.array([["a", "b"]]))
    assert "at least one entry" in npy(np.zeros((2, 2)))
    assert "nan in row 1, column 0" in npy(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    assert "inf in row 0, column 1" in npy(np.array([[1.0, np.inf]]))
    assert "Python objects" in npy(np.array([[1, None]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "r.npz", ratings=np.ones((2, 2)))
    assert "complete and hold one matrix" in refusal(tmp_path / "r.npz")
    sparse.save_npz(tmp_path / "r.npz", sparse.csr_array([[1j]]))
    assert "real numbers" in refusal(tmp_path / "r.npz")
    sparse.save_npz(tmp_path / "r.npz", sparse.csr_array([[0.0, np.nan]]))
    assert "nan in row 0, column 1" in refusal(tmp_path / "r.npz")
    sparse.save_npz(tmp_path / "r.npz", sparse.csr_array((3, 3)))
    assert "at least one entry" in refusal(tmp_path / "r.npz")
    repeated = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    sparse.save_npz(tmp_path / "r.npz", repeated)
    assert "several values" in refusal(tmp_path / "r.npz")
    (tmp_path / "r.mtx").write_text("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n1 1 2\n")
    assert "lines 3 and 4" in refusal(tmp_path / "r.mtx")


def test_indices_out_of_range_are_refused(tmp_path: Path) -> None:
    for indices, indptr in (([0, 7], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 5, 2])):
        np.savez(
            tmp_path / "r.npz",
            format=b"csr",
            shape=(2, 2),
            data=np.ones(2),
            indices=np.array(indices),
            indptr=np.array(indptr),
        )
        assert "complete and hold one matrix" in refusal(tmp_path / "r.npz")


class Mine:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_pickles_are_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    poison = np.empty((1, 1), dtype=object)
    poison[0, 0] = Mine(trap)
    np.save(tmp_path / "r.npy", poison, allow_pickle=True)
    np.savez(tmp_path / "r.npz", format=poison, shape=poison, data=poison)
    bare = tmp_path / "bare.npy"
    bare.write_bytes(pickle.dumps(Mine(trap)))
    for path in (tmp_path / "r.npy", tmp_path / "r.npz", bare):
        refusal(path)
    assert not trap.exists()


def test_sources_that_are_no_files(tmp_path: Path) -> None:
    assert "Check the path" in refusal(tmp_path / "absent.csv")
    assert "folder" in refusal(tmp_path)
    assert "Check the path" in refusal("a\0b")
    assert "Check the path" in refusal(tmp_path / ("x" * 5000))
    assert "Check the path" in refusal("")


def pipe_of(content: bytes) -> tuple[int, threading.Thread]:
    """The reading end of a pipe, and the thread that fills it; like ``<(cat FILE)`` of a shell."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return reading, thread


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
@pytest.mark.parametrize("dense", [False, True])
def test_a_pipe_loses_nothing(tmp_path: Path, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # every pass of a reader reopens its file; chunks of a few lines, so that a lost one would be seen
    monkeypatch.setattr(lines, "_CHUNK_BYTES", 1000)
    rows = range(20_000 if not dense else 5_000)
    text = "".join(f"{row // 5} {row % 7 + row} {row % 5 + 1}\n" for row in rows).encode()
    path = tmp_path / "ratings.txt"
    path.write_bytes(text)
    reading, thread = pipe_of(text)
    try:
        piped = load_ratings(f"/dev/fd/{reading}", dense=dense)
    finally:
        os.close(reading)
        thread.join()
    stored = load_ratings(path, dense=dense)
    assert piped.entries == stored.entries
    assert all(np.array_equal(a, b) for a, b in zip(piped.triples(), stored.triples(), strict=True))


def test_a_device_is_no_source_of_ratings() -> None:
    assert "device" in refusal("/dev/zero")  # it would be read for ever


def complete_files(folder: Path) -> dict[str, bytes]:
    matrix = sparse.random_array((6, 5), density=0.5, rng=np.random.default_rng(0))
    sparse.save_npz(folder / "whole.npz", matrix)
    np.save(folder / "whole.npy", matrix.toarray())
    scipy.io.mmwrite(folder / "whole.mtx", matrix)
    (folder / "whole.mtx.gz").write_bytes(gzip.compress((folder / "whole.mtx").read_bytes()))
    (folder / "whole.txt").write_text("u,i,r\n1,2,3\n4,5,6\n")
    (folder / "whole.csv.gz").write_bytes(gzip.compress(b"u,i,r\n1,2,3\n4,5,6\n"))
    return {suffix: (folder / f"whole.{suffix}").read_bytes() for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", ["npz", "npy", "mtx.gz", "csv.gz"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    whole = complete_files(tmp_path)[suffix]
    for kept in (0, 1, 5, len(whole) // 2, len(whole) - 9):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole[:kept])
        refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@file_settings
@given(noise=st.binary(max_size=200), dense=st.booleans())
def test_random_bytes_never_escape_as_anything_else(tmp_path: Path, suffix: str, noise: bytes, dense: bool) -> None:
    path = tmp_path / f"noise.{suffix}"
    path.write_bytes(noise)
    read_or_refused(path, dense)


@pytest.mark.parametrize("suffix", SUFFIXES)
@file_settings
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), dense=st.booleans())
def test_one_wrong_byte_never_escapes_as_anything_else(
    tmp_path: Path, suffix: str, place: float, byte: int, dense: bool
) -> None:
    damaged = bytearray(complete_files(tmp_path)[suffix])
    damaged[int(place * len(damaged))] = byte
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(damaged)
    read_or_refused(path, dense)


@file_settings
@given(content=st.text(st.sampled_from('0123456789.,;:\t \n\r"-+enaif\x1fü'), max_size=60), dense=st.booleans())
def test_text_of_the_right_characters_never_escapes(tmp_path: Path, content: str, dense: bool) -> None:
    path = tmp_path / "r.txt"
    path.write_bytes(content.encode())
    read_or_refused(path, dense)


def test_npz_that_promises_more_than_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    (tmp_path / "r.npy").write_bytes(header.getvalue())
    refusal(tmp_path / "r.npy")
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        for name in ("format", "shape", "data", "indices", "indptr"):
            archive.writestr(f"{name}.npy", header.getvalue())
    refusal(tmp_path / "r.npz")
    (tmp_path / "r.mtx").write_text("%%MatrixMarket matrix coordinate real general\n99999999999999 2 1\n1 1 1\n")
    refusal(tmp_path / "r.mtx")


def test_synthetic_has_the_rank_and_the_noise_asked_for() -> None:
    exact = load_ratings("synthetic:m=40,n=30,d=5,noise=0").matrix
    assert np.linalg.matrix_rank(exact) == 5
    noisy = load_ratings("synthetic:m=40,n=30,d=5,noise=0.1").matrix
    # the same factors, and noise on top
    assert np.std(noisy - exact) == pytest.approx(0.1, rel=0.1)
    assert np.mean(exact**2) == pytest.approx(5, rel=0.4)


def test_synthetic_is_seeded() -> None:
    spec = "synthetic:m=9,n=8,d=2,noise=0.1"
    first = load_ratings(spec).matrix
    np.testing.assert_array_equal(first, load_ratings(spec + ",seed=0").matrix)
    assert (first != load_ratings(spec + ",seed=1").matrix).all()


def test_sparse_synthetic_shows_some_entries_of_the_same_low_rank_matrix() -> None:
    whole = load_ratings("synthetic:m=40,n=30,d=3").matrix
    part = load_ratings("synthetic:m=40,n=30,d=3,density=0.25")
    rows, columns, values = part.triples()
    assert part.entries == 300
    np.testing.assert_allclose(values, whole[rows, columns], atol=1e-12)


@pytest.mark.parametrize("skew", [0.5, 1.0])
def test_skewed_synthetic_has_popular_rows_and_columns(skew: float) -> None:
    whole = load_ratings("synthetic:m=400,n=300,d=3").matrix
    part = load_ratings(f"synthetic:m=400,n=300,d=3,density=0.05,skew={skew}")
    rows, columns, values = part.triples()
    assert part.entries == 6000
    np.testing.assert_allclose(values, whole[rows, columns], atol=1e-12)
    for places, number in ((rows, 400), (columns, 300)):
        counts = np.bincount(places, minlength=number)
        assert counts[: number // 10].sum() > 2 * 6000 / 10


def test_the_most_skewed_synthetic_is_drawn_in_time() -> None:
    assert load_ratings("synthetic:m=300,n=200,d=1,density=0.25,skew=1").entries == 15000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m=5,n=5", "needs d"),
        ("", "needs m, n, d"),
        ("m=5,n=5,d=6", "at most min(m, n) = 5; got 6"),
        ("m=0,n=5,d=1", "m must be a whole number"),
        ("m=5,n=2.5,d=1", "n must be a whole number"),
        ("m=5,n=5,d=1,noise=-1", "noise must be a number"),
        ("m=5,n=5,d=1,noise=nan", "noise must be a number"),
        ("m=5,n=5,d=1,density=0", "density must be"),
        ("m=5,n=5,d=1,density=1.5", "density must be"),
        ("m=5,n=5,d=1,density=0.1,skew=2", "skew must be a number from 0 to 1"),
        ("m=5,n=5,d=1,skew=0.5", "density must be at most 0.25"),
        ("m=5,n=5,d=1,seed=-1", "seed must be"),
        ("m=5,n=5,d=1,rank=3", "got 'rank'"),
        ("m=5,m=5,n=5,d=1", "'m' twice"),
        ("m,n=5,d=1", "m must be"),
        ("m=1000000000,n=1000000000,d=1", "fit into memory"),
        ("m=99999999999999999999,n=99999999999999999999,d=1", "fit into memory"),
        ("m=99999999999999,n=9,d=1,density=0.5", "fit into memory"),
    ],
)
def test_bad_synthetic_specifications(spec: str, message: str) -> None:
    assert message in refusal("synthetic:" + spec)
