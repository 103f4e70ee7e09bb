"""Table I for other W, h, codes and delays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli.reproduce import command
from coded_als.cluster.machine import Machine
from coded_als.errors import UsageError
from coded_als.experiments.table1.extended import FITTED, cells_of, extended_rows, extended_words
from coded_als.experiments.table1.paper_table import OperationTime, expected_seconds

LAW = OperationTime(7e-8, 9e-5)


def test_draws_of_the_law_meet_the_formula_at_200_workers() -> None:
    cells = cells_of([200], [2, 7, 13], ["entangled:points=real"], [FITTED])
    rows = extended_rows(cells, LAW, Machine(), repeats=2, seed=0)
    assert [row.threshold for row in rows] == [5, 55, 181]
    for row, h in zip(rows, (2, 7, 13), strict=True):
        assert row.formula_seconds == expected_seconds(LAW, 1500, 200, h, 200)
        assert row.law_seconds_mean == pytest.approx(row.formula_seconds, rel=0.01)
        assert row.law_seconds_mean < row.clock_seconds_mean < row.with_master_seconds
    assert "of formula (46) in all 3 cells" in extended_words(rows, LAW)[1]


def test_other_codes_and_delays_have_no_formula() -> None:
    codes, delays = ["systematic:p=8", "replicated:copies=2,pieces=1", "entangled"], ["exp:mean=1ms"]
    rows = extended_rows(cells_of([10], [2], codes, delays), LAW, Machine(), repeats=2, seed=0)
    assert [(row.cell.partitions, row.formula_seconds) for row in rows] == [(None, None), (None, None), (2, None)]
    work_s = 1500**2 * 200 / 8 / 1e10
    harmonic_s = 1e-3 * sum(1 / k for k in range(3, 11))  # the eighth of ten exponentials
    assert rows[0].law_seconds_mean == pytest.approx(1000 * (work_s + harmonic_s), rel=0.03)


def test_cells_exist_where_the_threshold_allows() -> None:
    cells = cells_of([10, 20], range(2, 6), ["entangled:points=real"], [FITTED])
    assert [(cell.workers, cell.partitions) for cell in cells] == [(10, 2), (20, 2), (20, 3), (20, 4)]
    with pytest.raises(UsageError, match="some cell must exist"):
        cells_of([4], [2], ["entangled:points=real"], [FITTED])


def test_the_command_writes_constants_table_and_figure(tmp_path: Path) -> None:
    given = ["table1", "--workers", "11:12", "--partitions", "2:3", "--repeats", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, [*given, "--width", "3.4in", "--rc", "font.size=7"])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["law"]["total_mu_s"] == pytest.approx(7.43e-8, rel=0.01)
    assert "T mu = 7.426e-08 s" in result.output
    assert [row["partitions"] for row in found["rows"]] == [2, 3, 2, 3]
    assert np.isfinite([row["with_master_seconds"] for row in found["rows"]]).all()
    drawing = (tmp_path / "table1-extended.svg").read_text()
    assert 'width="244.8pt"' in drawing  # 3.4 in
    assert (tmp_path / "table1-extended.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--width", "3.4"], "--width must be a length like 3.4in"),
        (["--width", "0in"], "width must be above 0"),
        (["--rc", "font.size"], "--rc must be KEY=VALUE"),
        (["--rc", "font.sighs=8"], "rcParams must be matplotlib's"),
        (["--rc", "font.size=large-ish"], "rcParams must be matplotlib's"),
    ],
)
def test_figure_options_that_cannot_be_read_are_refused(tmp_path: Path, given: list[str], words: str) -> None:
    arguments = ["table1", "--workers", "11", "--partitions", "2", "--repeats", "1", "--out", str(tmp_path), *given]
    result = CliRunner().invoke(command, arguments)
    assert words in str(result.exception)
