"""Table I: the published data, the fit, the evidence of cells, and the words that follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli.reproduce import command
from coded_als.codes import iteration_threshold
from coded_als.experiments.table1.findings import findings, table_cells
from coded_als.experiments.table1.paper_table import (
    FAMILIES,
    AtPoints,
    Effort,
    OperationTime,
    PaperCell,
    Table1Row,
    at_points,
    expected_seconds,
    fit_law,
    paper_cells,
    paper_size,
    with_points,
)
from coded_als.experiments.table1.reproduction import evaluate, sound_cells, wall_seconds
from coded_als.experiments.text_tables import as_text
from coded_als.planner.schemes import Size

TINY = Effort(Size(72, 60, 5), iterations=6, repeats=3, wall=False)


def test_the_published_cells_are_those_that_the_threshold_allows() -> None:
    cells = paper_cells()
    assert len(cells) == 17
    expected = {(h, k) for h in range(2, 7) for k in range(10, 60, 10) if iteration_threshold(h, "real") <= k}
    assert {(cell.partitions, cell.live) for cell in cells} == expected
    assert paper_size() == Size(2400, 1500, 200)
    assert next(cell.seconds for cell in cells if (cell.partitions, cell.live) == (6, 50)) == 0.000598


def test_the_fit_recovers_a_law() -> None:
    law = OperationTime(7e-8, 9e-5)
    cells = [
        PaperCell(c.partitions, c.live, expected_seconds(law, 1500, 200, c.partitions, c.live)) for c in paper_cells()
    ]
    fitted = fit_law(cells)
    assert fitted.total_mu_s == pytest.approx(law.total_mu_s)
    assert fitted.total_sigma_s == pytest.approx(law.total_sigma_s)


def test_only_columns_that_decode_soundly_are_fitted() -> None:
    assert {cell.partitions for cell in sound_cells()} == {2, 3}


def test_a_sound_cell_survives_everywhere_and_a_broken_one_only_on_the_circle() -> None:
    law = fit_law(sound_cells())
    sound, broken = (evaluate(PaperCell(h, 50, 1.0), law, TINY, seed=0) for h in (2, 6))
    for points in ("real", "equispaced", "circle"):
        assert sound[f"{points}_iterations_survived"] == 6
        assert sound[f"{points}_error_actual"] <= sound[f"{points}_error_estimated"] < 1e-11
    assert broken["circle_iterations_survived"] == 6
    assert broken["circle_error_actual"] < 1e-10
    assert broken["real_iterations_survived"] < 3
    assert broken["real_error_actual"] > 1e-3
    assert sound["virtual_seconds_mean"] == pytest.approx(sound["formula_seconds"], rel=0.01)


def test_a_row_is_a_function_of_cell_effort_and_seed() -> None:
    law = OperationTime(7e-8, 9e-5)
    rows = [evaluate(PaperCell(4, 20, 2.8), law, TINY, seed=1) for _ in range(2)]
    assert rows[0] == rows[1]
    json.dumps(rows[0], allow_nan=False)


def row(h: int, live: int, paper: float, formula: float, products: float, survived: tuple[int, int]) -> Table1Row:
    errors = {"real": 10.0 ** (h - 15), "equispaced": 10.0 ** (h - 14), "circle": 1e-14}
    bare: Table1Row = {
        "cell": {"partitions": h, "live": live}, "status": "done", "paper_seconds": paper, "formula_seconds": formula,
        "virtual_seconds_mean": formula, "virtual_seconds_low95": None, "virtual_seconds_high95": None,
        "paper_products_implied": products,
    }  # fmt: skip
    for (points, error), iterations in zip(errors.items(), (*survived, 20), strict=True):
        bare = with_points(bare, points, AtPoints(10 * error, error, iterations, None))
    return bare


def verdicts(rows: list[Table1Row]) -> dict[str, str]:
    return {finding.subject: finding.verdict for finding in findings(rows, {"rows": 240, "columns": 150, "rank": 20})}


@pytest.mark.parametrize(
    ("factor", "word"), [(1.1, "agrees"), (0.9, "agrees"), (1.3, "trend only"), (0.6, "trend only"), (3.0, "disagrees")]
)
def test_agreement_with_the_paper_is_within_15_percent(factor: float, word: str) -> None:
    rows = [row(2, live, paper, factor * paper, 1000, (20, 20)) for live, paper in ((10, 7.0), (20, 6.0))]
    rows.append(row(3, 20, 4.0, 4.0, 900, (20, 20)))
    assert verdicts(rows)["the paper's column h = 2 and formula (46)"] == word


def test_the_words_follow_from_the_rows() -> None:
    sound = [row(2, 10, 7.0, 7.1, 1000, (20, 20)), row(2, 20, 6.0, 6.2, 900, (20, 20))]
    hypothesis = "hypothesis: cells collapse because decoding at real points breaks down"
    collapsed = [row(5, 30, 0.1, 2.0, 90, (20, 3)), row(5, 40, 0.01, 1.5, 7, (2, 0))]
    words = verdicts(sound + collapsed)
    assert words["the paper's column h = 2 and formula (46)"] == "agrees"
    assert words["the paper's column h = 5 and formula (46)"] == "disagrees"
    assert words["points on the circle in every cell of the table"] == "supported"
    assert words[hypothesis] == "supported"
    survivor = [row(5, 30, 0.1, 2.0, 90, (20, 20)), collapsed[1]]
    assert verdicts(sound + survivor)[hypothesis] == "partly supported"
    healthy = [row(5, 30, 0.1, 2.0, 90, (20, 20)), row(5, 40, 0.01, 1.5, 7, (20, 20))]
    assert verdicts(sound + healthy)[hypothesis] == "not supported"
    broken_elsewhere = [row(3, 20, 4.0, 4.0, 1100, (1, 1)), *collapsed]
    assert verdicts(sound + broken_elsewhere)[hypothesis] == "not supported"


def test_virtual_and_wall_seconds_have_columns_of_their_own() -> None:
    law = OperationTime(7e-8, 9e-5)
    rows = [evaluate(PaperCell(2, 10, 7.6), law, TINY, seed=0)]
    wall = [{"cell": {"partitions": 2, "live": 10}, "wall_seconds_per_round_mean": 0.0123}]
    headings, body = table_cells(rows, wall)
    assert [heading for heading in headings if "virtual" in heading] == ["virtual clock [virtual s]"]
    assert headings[-1] == "real workers [wall ms per round]"
    assert body[0][-1] == "12.3"
    assert len({len(line) for line in as_text(headings, body).splitlines()}) == 1


@pytest.mark.slow
def test_the_quick_table_is_quick_and_complete(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["table1", "--quick", "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 17
    assert "AGREES: formula (46) and the virtual clock" in result.output
    assert (tmp_path / "report.html").stat().st_size < 1e6


@pytest.mark.slow
def test_wall_seconds_come_from_real_workers() -> None:
    seconds = wall_seconds(PaperCell(2, 6, 1.0), OperationTime(1e-9, 1e-9), seed=0)
    assert np.isfinite(seconds["wall_seconds_per_round_mean"])
    assert seconds["wall_seconds_per_round_mean"] > 0


def test_words_say_how_large_the_problem_was() -> None:
    rows = [row(2, 10, 7.0, 7.1, 1000, (20, 20)), row(5, 40, 0.01, 1.5, 7, (2, 0))]
    said = [finding.evidence for finding in findings(rows, {"rows": 24, "columns": 15, "rank": 2})]
    assert sum("m=24, n=15, d=2" in evidence for evidence in said) == 2


def test_a_row_gives_back_what_was_found_at_each_family_of_points() -> None:
    bare = row(3, 30, 1.0, 1.0, 100, (20, 20))
    for place, points in enumerate(FAMILIES):
        found = AtPoints(1e-9, 1e-10, place, None)
        assert at_points(with_points(bare, points, found), points) == found
