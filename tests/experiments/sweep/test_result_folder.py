"""The results folder: what survives, what is refused, and what a killed writer leaves."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from coded_als.errors import UsageError
from coded_als.experiments.sweep.result_folder import ResultFolder, read_results
from coded_als.experiments.sweep.rows import flat_table
from coded_als.experiments.text_tables import as_csv

SPEC = {"kind": "sweep", "seed": 0}
CELLS = [{"h": 2}, {"h": 3}, {"h": 4}]


def row(cell: dict[str, int], value: float = 1.5) -> dict[str, object]:
    return {"cell": cell, "status": "done", "value": value}


def test_rows_are_written_in_the_order_of_the_grid(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "r", SPEC, resume=False) as folder:
        for cell in reversed(CELLS):
            folder.append(row(cell))
        folder.finish(CELLS)
    lines = (tmp_path / "r" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["cell"] for line in lines] == CELLS
    assert not (tmp_path / "r" / "journal.jsonl").exists()
    assert (tmp_path / "r" / "results.csv").read_text().splitlines()[0] == "h,status,value"


def test_a_torn_line_is_cut_off_and_the_rest_kept(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, SPEC, resume=False) as folder:
        folder.append(row(CELLS[0]))
        folder.append(row(CELLS[1]))
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    assert [r["cell"] for r in read_results(tmp_path)[1]] == CELLS[:1]
    with ResultFolder(tmp_path, SPEC, resume=True) as folder:
        assert list(folder.finished) == ['{"h": 2}']
        folder.append(row(CELLS[1]))
    assert len(journal.read_text().splitlines()) == 2


def test_a_finished_folder_can_be_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    for resume in (False, True):
        with ResultFolder(tmp_path, SPEC, resume=resume) as folder:
            for cell in CELLS:
                if json.dumps(cell) not in folder.finished:
                    folder.append(row(cell))
            folder.finish(CELLS)
        written = (tmp_path / "results.jsonl").read_bytes()
        assert len(written.splitlines()) == 3


@pytest.mark.parametrize(
    ("spec", "resume", "said"), [({"seed": 1}, True, "holds another"), (SPEC, False, "Add --resume")]
)
def test_another_spec_and_an_unasked_resume_are_refused(
    tmp_path: Path, spec: dict[str, int], resume: bool, said: str
) -> None:
    with ResultFolder(tmp_path, SPEC, resume=False) as folder:
        folder.append(row(CELLS[0]))
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(UsageError, match=said):
        ResultFolder(tmp_path, spec, resume=resume)
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, SPEC, resume=False), pytest.raises(UsageError, match="in use"):
        ResultFolder(tmp_path, SPEC, resume=True)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="write access and room") as caught:
            ResultFolder(path, SPEC, resume=False)
        assert "\n" not in str(caught.value)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ResultFolder(tmp_path, SPEC, resume=False) as folder:
        folder.append(row(CELLS[0]))
        write = os.write

        def half(descriptor: int, data: bytes) -> int:
            write(descriptor, data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(UsageError, match="No space left"):
                folder.append(row(CELLS[1]))
    with ResultFolder(tmp_path, SPEC, resume=True) as folder:
        assert list(folder.finished) == ['{"h": 2}']
        folder.append(row(CELLS[1]))
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("damage", ["no folder", "no spec", "spec is a list", "row without cell"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "r"
    if damage != "no folder":
        folder.mkdir()
    if damage == "spec is a list":
        (folder / "spec.json").write_text("[]")
    if damage == "row without cell":
        (folder / "spec.json").write_text("{}")
        (folder / "results.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="a report needs a folder"):
        read_results(folder)


def test_csv_has_the_columns_of_all_rows() -> None:
    text = as_csv(*flat_table([{"cell": {"h": 1}, "status": "infeasible"}, {"cell": {"h": 2}, "quantiles": [1, 2]}]))
    assert text.splitlines() == ["h,status,quantiles", "1,infeasible,", '2,,"[1, 2]"']


def test_parquet_holds_the_same_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with ResultFolder(tmp_path, SPEC, resume=False) as folder:
        folder.append(row(CELLS[0], 2.5))
        folder.finish(CELLS[:1], parquet=True)
    assert parquet.read_table(tmp_path / "results.parquet").to_pylist() == [{"h": 2, "status": "done", "value": 2.5}]
