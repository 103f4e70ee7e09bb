"""Checkpoints with a right checksum and other contents: refused in one line, or the fit goes on and is right."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import BPR, SGD, Checkpoint, CodedALS, ImplicitALS, InlineCluster, RidgeALS, UsageError
from coded_als.baselines import FirstCopy, fit_on_cluster
from coded_als.models.checkpoint import MAGIC, Snapshot, read_snapshot, snapshot_bytes
from coded_als.models.checkpoint_store import LATEST, FolderStore

RATINGS = sparse.random_array((30, 20), density=0.4, rng=np.random.default_rng(0), format="csr") * 5
DENSE = np.random.default_rng(1).standard_normal((30, 20)) * 0.8 ** np.arange(20)


def on_workers(model: Any, ratings: Any, checkpoint: Checkpoint | None = None) -> Any:
    with InlineCluster(4) as cluster:
        return fit_on_cluster(model, ratings, cluster, FirstCopy(2), checkpoint=checkpoint)


def here(model: Any, ratings: Any, checkpoint: Checkpoint | None = None) -> Any:
    return model.fit(ratings, checkpoint=checkpoint)


FITS: dict[str, tuple[Any, Any, Any]] = {
    "coded": (lambda n: CodedALS(2, iterations=n), DENSE, here),
    "coded, als": (lambda n: CodedALS(2, iterations=n, solver="als", regularization=0.5), DENSE, here),
    "coded, paper": (lambda n: CodedALS(2, iterations=n, solver="als", protocol="paper", partitions=2), DENSE, here),
    "ridge": (lambda n: RidgeALS(2, iterations=n), RATINGS, here),
    "implicit": (lambda n: ImplicitALS(2, iterations=n), RATINGS, here),
    "ridge on workers": (lambda n: RidgeALS(2, iterations=n, biases=False), RATINGS, on_workers),
    "sgd": (lambda n: SGD(2, iterations=n), RATINGS, here),
    "bpr": (lambda n: BPR(2, iterations=n), RATINGS, here),
}
# of the changes of one checkpoint, drawn from all
MOST = 60
# values that no fit writes, and some that one could
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    2**70,
    0.5,
    -0.5,
    float("nan"),
    float("inf"),
    "x",
    "",
    [],
    [1, "x"],
    {},
    {"a": 1},
)


def other_values(value: Any) -> Iterator[Any]:
    """A JSON value with one thing changed, anywhere in it."""
    yield from VALUES
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: other for key, other in value.items() if key != name}
            yield from ({**value, name: other} for other in other_values(inner))
        yield {**value, "more": 1}
    elif isinstance(value, list):
        yield value * 2
        yield value[:-1]
        for place in {0, len(value) - 1} if value else ():
            yield from ([*value[:place], other, *value[place + 1 :]] for other in other_values(value[place]))


def other_arrays(array: Any) -> Iterator[Any]:
    """An array of another type, shape or contents."""
    with np.errstate(all="ignore"):
        converted = [array.astype(kind) for kind in ("f2", "f4", "f8", "i8", "u1", "c16", "U5", "?")]
    yield from converted
    yield from (array[:-1], array[..., :-1], array.T, array.ravel(), array[np.newaxis], array[:0], np.array(1.0))
    yield np.concatenate((array, array))
    yield np.full_like(array, 0)
    if array.dtype.kind == "f":
        yield from (
            -array,
            2 * array,
            array[::-1].copy(),
            np.full_like(array, np.nan),
            np.full_like(array, np.finfo(array.dtype).max / 2),
        )
        spoiled = array.copy()
        spoiled.flat[0] = np.inf
        yield spoiled


def others(snapshot: Snapshot) -> Iterator[Snapshot]:
    """Snapshots that differ in one thing from one."""
    arrays, facts, iteration = dict(snapshot.arrays), dict(snapshot.facts), snapshot.iteration
    for other in VALUES:
        yield Snapshot(other, arrays, facts)
        yield Snapshot(iteration, arrays, other)
    yield from (Snapshot(iteration, arrays, other) for other in other_values(facts))
    for name, array in arrays.items():
        left = {key: value for key, value in arrays.items() if key != name}
        yield from (Snapshot(iteration, left | more, facts) for more in ({}, {"more": array}, {name + "x": array}))
        yield from (Snapshot(iteration, arrays | {name: other}, facts) for other in other_arrays(array))
    yield Snapshot(iteration, arrays | {"more": np.ones(3)}, facts)


def write(path: Path, snapshot: Snapshot, identity: Any) -> None:
    """As a store writes `snapshot_bytes`, for contents that it would not take."""
    import hashlib

    header = {"iteration": snapshot.iteration, "facts": snapshot.facts, "identity": identity}
    buffer = io.BytesIO()
    members: dict[str, Any] = {f"array/{name}": array for name, array in snapshot.arrays.items()}
    np.savez(buffer, header=np.array(json.dumps(header)), **members)
    body = buffer.getvalue()
    path.write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def tried(name: str, folder: Path, other: Snapshot, identity: Any) -> bool:
    """Whether a fit goes on from a snapshot; it is refused in one line otherwise."""
    model, ratings, fit = FITS[name]
    write(folder / LATEST, other, identity)
    fitted, refusal = None, ""
    try:
        fitted = fit(model(6), ratings, Checkpoint(folder, resume=True))
    except UsageError as error:
        refusal = str(error)
    if fitted is None:
        assert "\n" not in refusal
        assert re.search(
            r"complete file of this package|at least the \d+ that|must be finite|diverge|rank must be at most", refusal
        ), refusal
        return False
    assert np.isfinite(fitted.user_factors_).all()
    assert [entry.index for entry in fitted.history_] == list(range(1, len(fitted.history_) + 1))
    if isinstance(fitted, CodedALS) and fitted.converged_:
        values = np.linalg.svd(DENSE, compute_uv=False)
        shrunk = np.maximum(values[:2] - fitted.regularization, 0)
        best = (values**2).sum() - (shrunk**2).sum()
        assert fitted.objective_ <= best * (1 + 1e-8)
    return True


@pytest.mark.parametrize("name", FITS)
def test_other_contents_are_refused_or_do_no_harm(name: str, tmp_path: Path) -> None:
    model, ratings, fit = FITS[name]
    fit(model(3), ratings, Checkpoint(tmp_path))
    snapshot, identity = read_snapshot(FolderStore(tmp_path), LATEST)
    write(tmp_path / LATEST, snapshot, identity)
    assert tried(name, tmp_path, snapshot, identity)
    every = list(others(snapshot))
    chosen = np.random.default_rng(0).permutation(len(every))[:MOST]
    went_on = sum(tried(name, tmp_path, every[place], identity) for place in chosen)
    assert went_on < len(chosen) / 2


@pytest.mark.parametrize("identity", [*VALUES, {"method": {}}])
def test_another_identity_is_refused(identity: Any, tmp_path: Path) -> None:
    model, ratings, fit = FITS["ridge"]
    fit(model(3), ratings, Checkpoint(tmp_path))
    snapshot, _ = read_snapshot(FolderStore(tmp_path), LATEST)
    write(tmp_path / LATEST, snapshot, identity)
    with pytest.raises(UsageError, match=r"complete file|must be of the same fit"):
        fit(model(6), ratings, Checkpoint(tmp_path, resume=True))


@pytest.mark.parametrize("version", [b"2", b"0", b"17"])
def test_a_checkpoint_of_another_version_is_refused_and_kept(version: bytes, tmp_path: Path) -> None:
    model, ratings, fit = FITS["ridge"]
    fit(model(3), ratings, Checkpoint(tmp_path))
    content = (tmp_path / LATEST).read_bytes().replace(b"checkpoint 1 ", b"checkpoint " + version + b" ", 1)
    (tmp_path / LATEST).write_bytes(content)
    with pytest.raises(
        UsageError, match=f"it is a checkpoint of version {version.decode()}, .* reads version 1"
    ) as raised:
        fit(model(6), ratings, Checkpoint(tmp_path, resume=True))
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="holds one"):
        fit(model(6), ratings, Checkpoint(tmp_path))
    assert (tmp_path / LATEST).read_bytes() == content


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = Snapshot(2, {"a": np.arange(3.0)}, {"history": [1, 2]})
    FolderStore(tmp_path).write(snapshot_bytes(written, {"method": "x"}))
    snapshot, identity = read_snapshot(FolderStore(tmp_path), LATEST)
    assert (snapshot.iteration, snapshot.facts, identity) == (2, {"history": [1, 2]}, {"method": "x"})
