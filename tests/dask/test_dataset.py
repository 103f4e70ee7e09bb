"""Fits of part files whose data no machine holds: the fit of the whole table, and what is refused in one line."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from coded_als import EASE, CodedALS, EarlyStopping, InlineCluster
from coded_als.baselines import FirstCopy, ImplicitALS, Partial, RidgeALS
from coded_als.cluster import Fastest, Round, all_of
from coded_als.cluster.scope import Part
from coded_als.dask import DaskCluster
from coded_als.dask.blocks import ARRAYS
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import fit_dataset
from coded_als.data import holdout, load_ratings
from coded_als.errors import UsageError, WorkerFailed
from coded_als.evaluation import evaluate_ranking
from coded_als.worker.parts import PartFolder
from tests.dask.test_cluster import eventually

pd: Any = pytest.importorskip("pandas")
pa: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")
NAMES = ("user", "item", "rating")
GENERATOR = np.random.default_rng(4)
PAIRS = GENERATOR.permutation(60 * 40)[:500]
TABLE = pd.DataFrame({"user": PAIRS // 40 * 7 - 50, "item": PAIRS % 40, "rating": GENERATOR.integers(1, 6, 500) / 2})


@pytest.fixture(scope="module")
def cluster(dask_client: Any) -> Iterator[DaskCluster]:
    with DaskCluster(dask_client, 4) as cluster:
        yield cluster


def write_parts(table: Any, folder: Path, parts: int = 3, kind: str = "parquet") -> str:
    for part in range(parts):
        piece = table.iloc[part::parts]
        if kind == "parquet":
            piece.to_parquet(folder / f"part-{part}.parquet", row_group_size=60)
        else:
            piece.to_csv(folder / f"part-{part}.csv", index=False)
    return str(folder / f"*.{kind}")


def as_text(table: Any) -> Any:
    return table.assign(user="u" + table.user.astype(str), item="ä" + table.item.astype(str))


@pytest.mark.parametrize(
    "model", [RidgeALS(3, iterations=3), ImplicitALS(3, iterations=3)], ids=lambda model: model.kind
)
@pytest.mark.parametrize(
    ("convert", "kind"), [(None, "parquet"), (None, "csv"), (as_text, "parquet"), (as_text, "csv")]
)
def test_part_files_give_the_fit_of_the_whole_table(
    cluster: DaskCluster, tmp_path: Path, model: Any, convert: Any, kind: str
) -> None:
    table = TABLE if convert is None else convert(TABLE)
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path, kind=kind), NAMES)
    fit_dataset(model, dataset, cluster)
    found, ids = (model.user_factors_, model.item_factors_), (model.user_ids, model.item_ids)
    data = load_ratings(table, columns=NAMES)
    model.fit(data)
    for ours, theirs in zip(
        (*found, *ids), (model.user_factors_, model.item_factors_, data.user_ids, data.item_ids), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("weighting", ["none", "binary", "centred", "log"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_coded_model_on_part_files(cluster: DaskCluster, tmp_path: Path, weighting: Any, turned: bool) -> None:
    names = (NAMES[1], NAMES[0], NAMES[2]) if turned else NAMES
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), names)
    model = fit_dataset(CodedALS(3, code="replicated:copies=2", weighting=weighting), dataset, cluster)
    assert model.converged_
    plain = CodedALS(3, precomputation="none", weighting=weighting)
    plain.fit(load_ratings(TABLE, columns=names), InlineCluster(4))
    assert model.objective_ == pytest.approx(plain.objective_, rel=1e-10)
    assert model.global_mean_ == pytest.approx(plain.global_mean_, rel=1e-12)
    predicted = model.user_factors_ @ model.item_factors_.T
    np.testing.assert_allclose(predicted, plain.user_factors_ @ plain.item_factors_.T, atol=1e-3)


def test_an_exact_fit_of_the_coded_model(cluster: DaskCluster, tmp_path: Path) -> None:
    full = pd.DataFrame({"user": np.repeat(np.arange(20), 10), "item": np.tile(np.arange(10), 20)})
    full["rating"] = (full.user + 1.0) * (full["item"] + 2.0) / 1e40
    dataset = Dataset.find(cluster.client, write_parts(full, tmp_path), NAMES)
    model = fit_dataset(CodedALS(1), dataset, cluster)
    np.testing.assert_allclose(
        (model.user_factors_ @ model.item_factors_.T).ravel() * 1e40, full.rating * 1e40, rtol=1e-9
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"precomputation": "local"},
        {"protocol": "paper", "solver": "als"},
        {"verify": "freivalds"},
        {"center": "columns"},
        {"rank": 50},
    ],
)
def test_what_needs_all_ratings_at_the_master_is_refused(
    cluster: DaskCluster, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    with pytest.raises(UsageError, match=r"where they are|as it is|rank must be"):
        fit_dataset(CodedALS(**({"rank": 2} | parameters)), dataset, cluster)


STANDING: dict[str, tuple[Any, Any]] = {
    "ridge": (RidgeALS(3, biases=True, iterations=5), None),
    "first copy": (ImplicitALS(3, iterations=5, dtype="float64"), FirstCopy(2)),
    "rows": (CodedALS(3, precomputation="none"), None),
    "D": (CodedALS(3, precomputation="coded", weighting="centred"), None),
    "als": (CodedALS(3, precomputation="none", solver="als", code="uncoded"), None),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", STANDING)
def test_a_callback_takes_the_model_as_it_stands_and_ends_the_fit(
    cluster: DaskCluster, tmp_path: Path, name: str, turned: bool
) -> None:
    model, policy = STANDING[name]
    names = (NAMES[1], NAMES[0], NAMES[2]) if turned else NAMES
    found: list[tuple[int, float, Any]] = []

    def stop(entry: Any, standing: Any) -> bool:
        found.append((len(standing.history_), evaluate_ranking(standing, late, 5).ndcg, standing.recommend(user, n=3)))
        return entry.index == 3

    early, late = holdout(load_ratings(TABLE, columns=names), 0.2, seed=2)
    rows, columns = early.matrix.nonzero()
    table = pd.DataFrame(
        dict(zip(names, (early.user_ids[rows], early.item_ids[columns], early.matrix.data), strict=True))
    )
    user = early.user_ids[rows[0]].item()
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path), names)
    fit_dataset(model, dataset, cluster, policy, callback=[stop])
    whole = load_ratings(table, columns=names)
    assert model.seen_ is not None
    assert (model.seen_ != whole.matrix.astype(bool)).nnz == 0
    assert len(model.history_) == 3
    ours, found = found, []
    again = type(model)(**model.get_params()).fit(
        whole, *[InlineCluster(4)] * isinstance(model, CodedALS), callback=stop
    )
    assert [index for index, _, _ in ours] == [1, 2, 3]
    for (_, figure, ranking), (_, same, like) in zip(ours, found, strict=True):
        np.testing.assert_array_equal(ranking.ids, like.ids)
        np.testing.assert_allclose(ranking.scores, like.scores, rtol=1e-4)
        assert figure == pytest.approx(same)
    assert [entry.objective for entry in model.history_] == pytest.approx([one.objective for one in again.history_])
    if isinstance(model, CodedALS):
        assert [entry.responses for entry in model.history_[1:]] == [entry.responses for entry in again.history_[1:]]


@pytest.mark.parametrize("model", [ImplicitALS(4, iterations=30), CodedALS(4), EASE(2.0)], ids=lambda model: model.kind)
def test_early_stopping_keeps_the_best_state(cluster: DaskCluster, tmp_path: Path, model: Any) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    validation = load_ratings(
        TABLE.assign(user=TABLE.user.to_numpy()[::-1]).drop_duplicates(["user", "item"]), columns=NAMES
    )
    stop = EarlyStopping(validation, k=5, patience=2)
    fit_dataset(model, dataset, cluster, callback=stop)
    assert stop.best == max(stop.figures)
    assert len(stop.figures) == len(model.history_) <= 15
    assert evaluate_ranking(model, validation, 5).ndcg == pytest.approx(stop.best, abs=1e-9)


@pytest.mark.parametrize("policy", [FirstCopy(2), Partial(3)])
def test_policies(cluster: DaskCluster, tmp_path: Path, policy: Any) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    model = fit_dataset(ImplicitALS(3, iterations=6, dtype="float64"), dataset, cluster, policy)
    objective = model.history_[-1].objective
    data = load_ratings(TABLE, columns=NAMES)
    assert objective == pytest.approx(
        model.fit(data).history_[-1].objective, rel=0.1 if isinstance(policy, Partial) else 1e-10
    )


def test_rows_without_ratings_are_counted(cluster: DaskCluster, tmp_path: Path) -> None:
    table = pd.concat([TABLE, TABLE.iloc[:100]])
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path), NAMES[:2])
    model = fit_dataset(ImplicitALS(3, alpha=2.0, iterations=2), dataset, cluster)
    found = model.user_factors_
    np.testing.assert_array_equal(found, model.fit(load_ratings(table, columns=NAMES[:2])).user_factors_)


@pytest.mark.parametrize(("repeated", "drop"), [("last", {"keep": "last"}), ("sum", None)])
def test_pairs_that_are_there_twice(cluster: DaskCluster, tmp_path: Path, repeated: Any, drop: Any) -> None:
    table = pd.concat([TABLE, TABLE.iloc[:50].assign(rating=5.0)])
    halves = [table.iloc[:500], table.iloc[500:]]
    for number, half in enumerate(halves):
        half.to_parquet(tmp_path / f"{number}.parquet")
    with pytest.raises(UsageError, match=r"user -?\d+ rates item \d+ twice in"):
        fit_dataset(RidgeALS(2), Dataset.find(cluster.client, str(tmp_path), NAMES), cluster)
    dataset = Dataset.find(cluster.client, str(tmp_path), NAMES, repeated)
    model = fit_dataset(RidgeALS(2, iterations=2), dataset, cluster)
    found = model.user_factors_
    united = (
        table.drop_duplicates(["user", "item"], **drop)
        if drop
        else table.groupby(["user", "item"], as_index=False).sum()
    )
    np.testing.assert_array_equal(found, model.fit(load_ratings(united, columns=NAMES)).user_factors_)


def test_sums_that_float32_does_not_hold_are_not_rounded(cluster: DaskCluster, tmp_path: Path) -> None:
    """Values that it holds may have sums that it does not."""
    table = pd.concat([TABLE, TABLE.iloc[:50].assign(rating=2.0**30)])
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path), NAMES, "sum")
    with dataset.place(cluster, True, 2) as placed:
        homes = placed.homes().values()
        blocks = [PartFolder(folder).read(first + ARRAYS.index("data")) for _, folder, first in homes]
    united = table.groupby(["user", "item"])["rating"].sum().to_numpy()
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.sort(united))
    assert (united != united.astype(np.float32)).any()


def test_nothing_is_left_of_a_fit(cluster: DaskCluster, tmp_path: Path) -> None:
    def parts(dask_worker: Any, name: str = cluster.starter.name) -> list[str]:
        return os.listdir(dask_worker.plugins[name].parts.path)

    fit_dataset(RidgeALS(2, iterations=1), Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES), cluster)
    assert not any(cluster.client.run(parts).values())
    assert not cluster.starter.providers


BAD: dict[str, tuple[Any, Any, str]] = {
    "missing column": (TABLE, ("user", "item", "stars"), "columns must be among those of .*'rating'.*; got 'stars'"),
    "one name": (TABLE, ("user",), "two or three names of columns"),
    "gap": (TABLE.assign(item=TABLE.item.where(TABLE.item > 0)), NAMES, "must have no gaps; .* of column 'item'"),
    "gap in ratings": (TABLE.assign(rating=np.nan), NAMES, "must have no gaps|must be finite"),
    "infinite": (TABLE.assign(rating=np.inf), NAMES, "ratings must be finite; got inf in column 'rating'"),
    "text": (TABLE.assign(rating="good"), NAMES, "ratings must be numbers; column 'rating' of .* is .*string"),
    "empty": (TABLE.iloc[:0], NAMES, "ratings must have at least one row"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_dataset_is_refused_in_one_line(cluster: DaskCluster, tmp_path: Path, case: str) -> None:
    table, columns, message = BAD[case]
    source = write_parts(table, tmp_path)
    with pytest.raises(UsageError, match=message) as raised:
        Dataset.find(cluster.client, source, columns)
    assert "\n" not in str(raised.value)


def test_parts_without_rows_are_passed_over(cluster: DaskCluster, tmp_path: Path) -> None:
    source = write_parts(TABLE.iloc[:0], tmp_path, kind="csv")
    with pytest.raises(UsageError, match="at least one row"):
        Dataset.find(cluster.client, source, NAMES)
    TABLE.to_csv(tmp_path / "part-1.csv", index=False)
    assert Dataset.find(cluster.client, source, NAMES).rows == len(TABLE)


def test_ids_of_two_types_are_refused(cluster: DaskCluster, tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "a.parquet")
    as_text(TABLE).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UsageError, match=r"user ids must be of one type in all parts; got (text|whole numbers) in"):
        Dataset.find(cluster.client, str(tmp_path), NAMES)


def test_a_damaged_part_is_refused(cluster: DaskCluster, tmp_path: Path) -> None:
    source = write_parts(TABLE, tmp_path)
    damaged = tmp_path / "part-1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"part file must be complete and readable; got .*part-1.parquet"):
        Dataset.find(cluster.client, source, NAMES)


def test_a_part_that_is_no_file_is_refused(cluster: DaskCluster, tmp_path: Path) -> None:
    """A link to nowhere is a part that is missing, not none; a pipe would be waited for."""
    source = write_parts(TABLE, tmp_path)
    (tmp_path / "folder.parquet").mkdir()
    assert Dataset.find(cluster.client, source, NAMES).rows == len(TABLE)
    odd = tmp_path / "part-3.parquet"
    for make in (lambda: odd.symlink_to(tmp_path / "gone.parquet"), lambda: os.mkfifo(odd)):
        make()
        with pytest.raises(UsageError, match=r"got .*part-3.parquet: it is no file"):
            Dataset.find(cluster.client, source, NAMES)
        odd.unlink()


def test_a_column_that_is_there_twice_is_refused(cluster: DaskCluster, tmp_path: Path) -> None:
    columns = [pa.array(TABLE[name]) for name in NAMES]
    parquet.write_table(pa.table([*columns, columns[2]], names=[*NAMES, "rating"]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a.parquet has 'rating' twice"):
        Dataset.find(cluster.client, str(tmp_path), NAMES)
    assert Dataset.find(cluster.client, str(tmp_path), NAMES[:2]).rows == len(TABLE)


def test_part_files_that_are_not_there(cluster: DaskCluster, tmp_path: Path) -> None:
    for source in (str(tmp_path / "*.parquet"), str(tmp_path), str(tmp_path / "no.parquet")):
        with pytest.raises(UsageError, match="must be part files that are all"):
            Dataset.find(cluster.client, source, NAMES)


def test_a_part_that_is_gone_is_an_error_at_once(cluster: DaskCluster) -> None:
    cluster.store("nowhere", [Part(10**9)] * cluster.size)  # type: ignore[list-item]
    round = Round("inner_product", ("nowhere",), response_shapes=((1, 1, 1),))
    with pytest.raises(
        WorkerFailed, match=r"an array put on a worker's machine must stay there; worker . says: FileNot"
    ):
        cluster.run(round, all_of(cluster.size))
    cluster.drop(["nowhere"])


@pytest.mark.slow
def test_a_fit_outlives_a_dask_worker_that_is_killed(dask_client: Any, tmp_path: Path) -> None:
    dataset = Dataset.find(dask_client, write_parts(TABLE, tmp_path), NAMES)
    undisturbed = ImplicitALS(3, iterations=6, dtype="float64").fit(load_ratings(TABLE, columns=NAMES))
    with DaskCluster(dask_client, 4) as cluster:
        victim = next(iter(dask_client.run(os.getpid).values()))
        before = set(cluster.process_ids.values())
        killed: list[int] = []

        def kill(entry: Any) -> None:
            if entry.index == 2:
                os.kill(victim, signal.SIGKILL)
                killed.append(entry.index)

        model = fit_dataset(
            ImplicitALS(3, iterations=6, dtype="float64"), dataset, cluster, FirstCopy(2), callback=kill
        )
        assert killed
        np.testing.assert_allclose(model.user_factors_, undisturbed.user_factors_, atol=1e-8)

        def are_back() -> bool:
            dask_client.wait_for_workers(2)
            cluster.run(Round("inner_product", ("one",), response_shapes=((1, 1, 1),)), Fastest(1))
            return len(set(cluster.process_ids.values()) - before) >= 2

        cluster.store("one", [np.ones((1, 1, 1))] * 4)
        assert eventually(are_back)
        again = fit_dataset(ImplicitALS(3, iterations=6, dtype="float64"), dataset, cluster)
        np.testing.assert_allclose(again.user_factors_, undisturbed.user_factors_, atol=1e-8)
    assert eventually(lambda: not any(Path(tempfile.gettempdir()).glob(f"{cluster.starter.name}*")))


@pytest.mark.parametrize("text", [False, True])
def test_ease_of_part_files_is_that_of_the_table(
    dask_client: Any, cluster: DaskCluster, tmp_path: Path, text: bool
) -> None:
    table = as_text(TABLE) if text else TABLE
    dataset = Dataset.find(dask_client, write_parts(table, tmp_path), NAMES)
    table.to_csv(tmp_path / "table.txt", index=False)
    found, expected = fit_dataset(EASE(3.0), dataset, cluster), EASE(3.0).fit(load_ratings(tmp_path / "table.txt"))
    np.testing.assert_array_equal(found.weights_, expected.weights_)
    np.testing.assert_array_equal(found.user_ids, expected.user_ids)
    assert found.history_[0].objective == pytest.approx(expected.history_[0].objective)
    for user in expected.user_ids[::9].tolist():
        assert found.recommend(user, 5).ids.tolist() == expected.recommend(user, 5).ids.tolist()
    with pytest.raises(UsageError, match="takes no policy"):
        fit_dataset(EASE(3.0), dataset, cluster, FirstCopy(2))


def test_a_fit_of_part_files_goes_on_from_a_model(dask_client: Any, cluster: DaskCluster, tmp_path: Path) -> None:
    dataset = Dataset.find(dask_client, write_parts(TABLE, tmp_path), NAMES)
    first = fit_dataset(ImplicitALS(3, iterations=6), dataset, cluster)
    again = fit_dataset(ImplicitALS(3, iterations=1), dataset, cluster, start=first)
    assert again.history_[-1].objective <= first.history_[-1].objective * (1 + 1e-6)
    stranger = ImplicitALS(2).fit(np.eye(3)).set_ids(["a", "b", "c"], ["a", "b", "c"])
    with pytest.raises(UsageError, match="share users or items"):
        fit_dataset(ImplicitALS(3), dataset, cluster, start=stranger)
    with pytest.raises(UsageError, match="more rounds"):
        fit_dataset(CodedALS(3), dataset, cluster, start=first)
