"""Fits of part files that were interrupted and go on: the same factors, to the last bit; other part files are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("distributed")

from coded_als import Checkpoint, CodedALS, load_model
from coded_als.baselines import FirstCopy, ImplicitALS, RidgeALS
from coded_als.cli import main
from coded_als.dask import DaskCluster
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import fit_dataset
from coded_als.errors import UsageError
from coded_als.models.checkpoint_store import LATEST
from coded_als.models.training import Iteration
from tests.dask.test_dataset import NAMES, TABLE, as_text, write_parts

MODELS: dict[str, Any] = {
    "ridge": RidgeALS(3, biases=True, iterations=5),
    "implicit": ImplicitALS(3, iterations=5),
    "rows": CodedALS(3, iterations=8, precomputation="none"),
    # of a code, who was slow is in the last bits
    "coded": CodedALS(3, iterations=8, precomputation="coded", code="replicated:copies=2"),
    "als": CodedALS(3, solver="als", iterations=8, weighting="centred", precomputation="none"),
}


class Killed(Exception):
    """Ends a fit."""


def at_two(entry: Iteration) -> None:
    if entry.index == 2:
        raise Killed


@pytest.fixture(scope="module")
def cluster(dask_client: Any) -> Iterator[DaskCluster]:
    with DaskCluster(dask_client, 4) as cluster:
        yield cluster


@pytest.mark.parametrize("name", [*MODELS, "first copy"])
def test_a_fit_goes_on_to_the_same_factors(cluster: DaskCluster, tmp_path: Path, name: str) -> None:
    model, policy = MODELS.get(name, MODELS["ridge"]), FirstCopy(2) if name == "first copy" else None
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    fit_dataset(model, dataset, cluster, policy)
    whole = model.user_factors_, model.item_factors_, [entry.objective for entry in model.history_]
    kept = tmp_path / "kept"
    with pytest.raises(Killed):
        fit_dataset(model, dataset, cluster, policy, callback=at_two, checkpoint=Checkpoint(kept))
    # found again, as by another process
    dataset = Dataset.find(cluster.client, str(tmp_path), NAMES)
    told: list[Iteration] = []
    checkpoint = Checkpoint(kept, resume=True)
    fit_dataset(model, dataset, cluster, policy, callback=told.append, checkpoint=checkpoint)
    assert told[0].index in (2, 3)  # the coded model keeps its state before an iteration, the others after it
    np.testing.assert_array_equal(model.user_factors_, whole[0])
    np.testing.assert_array_equal(model.item_factors_, whole[1])
    assert [entry.objective for entry in model.history_] == whole[2]


def changed(table: Any) -> Any:
    """The same ids and counts, and one other rating."""
    return table.assign(rating=table.rating.where(table.index != table.index[7], 4.25))


def swapped(table: Any) -> Any:
    """The same ids, counts and ratings, in another order of them."""
    return table.assign(rating=table.rating.to_numpy()[::-1])


OTHERS: dict[str, Any] = {
    "a rating": (changed, None),
    "the order of ratings": (swapped, None),
    "what counts of pairs": (lambda table: table, "last"),
    "fewer": (lambda table: table.iloc[1:], None),
}


@pytest.mark.parametrize("convert", [None, as_text], ids=["numbers", "text"])
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("model", [MODELS["implicit"], MODELS["coded"]], ids=lambda model: model.kind)
def test_a_checkpoint_of_other_part_files_is_refused(
    cluster: DaskCluster, tmp_path: Path, model: Any, name: str, convert: Any
) -> None:
    table = TABLE if convert is None else convert(TABLE)
    change, repeated = OTHERS[name]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    kept = tmp_path / "kept"
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path / "one"), NAMES)
    with pytest.raises(Killed):
        fit_dataset(model, dataset, cluster, callback=at_two, checkpoint=Checkpoint(kept))
    before = (kept / LATEST).read_bytes()
    other = Dataset.find(cluster.client, write_parts(change(table), tmp_path / "other"), NAMES, repeated)
    with pytest.raises(UsageError, match=r"a checkpoint must be of the same fit; .* has data ="):
        fit_dataset(model, other, cluster, checkpoint=Checkpoint(kept, resume=True))
    assert (kept / LATEST).read_bytes() == before


def fit(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["fit", *map(str, arguments)])


@pytest.mark.parametrize("method", [pytest.param("implicit", marks=pytest.mark.slow), "coded"])
def test_on_the_command_line(dask_client: Any, tmp_path: Path, method: str) -> None:
    parts, address = write_parts(TABLE, tmp_path), dask_client.scheduler_info()["address"]
    options = ["--columns", ",".join(NAMES), "--method", method, "--rank", 3, "--scheduler", address, "--workers", 3]
    solver = ["--solver", "als", "--code", "uncoded"] if method == "coded" else []
    kept = tmp_path / "kept"
    for name, more in {
        "whole": ["--iterations", 6],
        "first": ["--iterations", 4, "--checkpoint", kept],
        "second": ["--iterations", 6, "--checkpoint", kept, "--resume", "--checkpoint-every", 3],
    }.items():
        result = fit(parts, *options, *solver, *more, "--out", f"{tmp_path / name}/")
        assert result.exit_code == 0, result.output
    whole, second = load_model(tmp_path / "whole"), load_model(tmp_path / "second")
    np.testing.assert_array_equal(whole.user_factors_, second.user_factors_)
    np.testing.assert_array_equal(whole.item_factors_, second.item_factors_)
    before = (kept / LATEST).read_bytes()
    for more, message in (
        (["--checkpoint", kept], "holds one. Add --resume"),
        (["--checkpoint", kept, "--resume", "--seed", 1], "has seed = 0 where this fit has 1"),
        (["--resume"], "--resume must come with --checkpoint FOLDER"),
    ):
        result = fit(parts, *options, *solver, "--iterations", 6, *more, "--out", f"{tmp_path}/no/")
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "no").exists()
    assert (kept / LATEST).read_bytes() == before
