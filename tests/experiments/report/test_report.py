"""Reports: offline, well formed, small, and made of stored cells alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from coded_als.als import CodedALS
from coded_als.cli import report as report_command
from coded_als.delays import DelayStream
from coded_als.errors import UsageError
from coded_als.experiments.report.canvas import new_axes, plain
from coded_als.experiments.report.html_report import open_results, write_report
from coded_als.experiments.report.saving import inline_svg
from coded_als.experiments.sweep.result_folder import read_results
from tests.experiments.report.conftest import SPECS


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return report.read_text()


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects what refers to somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_one_small_offline_file(page: str) -> None:
    assert len(page.encode()) < 1e6
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    # within the page, and the empty icon that keeps a browser from asking for one
    assert {reference for reference in tags.references if not reference.startswith("href=#")} == {"href=data:,"}
    assert not re.search(r"https?://|@import|url\((?!#)|<script", page)
    assert "prefers-color-scheme:dark" in page


def test_every_drawing_is_well_formed_and_has_its_data(page: str) -> None:
    drawings = re.findall(r"<svg .*?</svg>", page, flags=re.S)
    # for no and one dead worker the delay models; for each with each delay model against h, against W, the
    # distribution, and against memory; then the curves and the timeline
    assert len(drawings) == 2 + 2 * 2 * 4 + 2
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
    assert page.count("<summary>Data and command</summary>") == len(drawings)
    assert page.count("Made by <code>") == len(drawings)


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'href="#([^"]+)"', page), *re.findall(r"url\(#([^)]+)\)", page)} <= set(ids)


def test_colours_follow_the_theme_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg .*?</svg>", page, flags=re.S))
    used = set(re.findall(r"var\(--(\w+)\)", drawings))
    for theme in re.findall(r":root\{[^}]*\}", page):
        assert used <= set(re.findall(r"--(\w+):", theme))
    # what is left has no colour of its own
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) <= {"#000000"}


def test_a_long_page_has_contents_that_name_every_section(page: str) -> None:
    listed = re.findall(r'<li><a href="#[^"]+">(.*?)</a></li>', page)
    assert listed == re.findall(r"<h2>(.*?)</h2>", page)


def test_markup_in_a_delay_spec_stays_text() -> None:
    figure, axes = new_axes("W", "<seconds>")
    axes.plot([0], [0], label="<only>")
    drawing = inline_svg(figure, "name", '<"title">')
    assert "&lt;seconds&gt;" in drawing
    assert ElementTree.fromstring(drawing).get("aria-label") == '<"title">'


def test_numbers_in_the_tables_are_the_stored_ones(folder: Path, page: str) -> None:
    for row in read_results(folder)[1]:
        if row["status"] == "done":
            assert f">{plain(row['virtual_seconds_mean'], 4)}<" in page
        else:
            assert row["reason"][:40] in page


@pytest.mark.slow
def test_nothing_is_run_for_a_report(folder: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a report must not run a cell")

    # every cluster and every drawn time takes its delays from a stream
    monkeypatch.setattr(DelayStream, "__init__", refuse)
    monkeypatch.setattr(CodedALS, "fit", refuse)
    (folder / "report.html").unlink()
    result = CliRunner().invoke(report_command.command, [str(folder)], catch_exceptions=False)
    assert result.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_text() == page


def test_seconds_of_different_clocks_solvers_and_losses_are_not_mixed(folder: Path) -> None:
    parts = open_results(folder).slices
    assert [(part.delays, part.stragglers) for part in parts] == [(spec, dead) for spec in SPECS for dead in (0, 1)]
    for part in parts:
        assert {row["cell"]["solver"] for row in part.rows} == {"als"}
        assert {row["cell"]["delays"] for row in part.rows} == {part.delays}


def test_each_delay_model_has_figures_of_its_own(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    of_cells = [title for title in titles if title.startswith(("Time against", "Distribution"))]
    assert [spec for title in of_cells for spec in SPECS if title.endswith(f"delays {spec}")] == [
        spec for spec in SPECS for _ in range(2 * 4)
    ]
    of_examples = [title for title in titles if title.startswith(("Objective", "Timeline"))]
    assert len(of_examples) == 2
    assert all(title.endswith(f"delays {SPECS[0]}") for title in of_examples)


def test_a_report_of_a_run_that_has_not_ended_is_in_the_order_of_the_grid(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "results.jsonl").read_text().splitlines()
    lines = [line for line in lines if json.loads(line)["cell"]["stragglers"] == 0]
    (tmp_path / "spec.json").write_text((folder / "spec.json").read_text())
    (tmp_path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines[::-1]))
    page = write_report(tmp_path).read_text()
    assert page.index(f"delays {SPECS[0]}") < page.index(f"delays {SPECS[1]}")


def test_a_folder_without_a_finished_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"kind": "sweep"}')
    with pytest.raises(UsageError, match="a finished cell"):
        write_report(tmp_path)
