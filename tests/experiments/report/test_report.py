"""Reports: offline, well formed, small, and made of stored cells alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from coded_als.als import CodedALS
from coded_als.cli import report as report_command
from coded_als.cli.sweep import command as sweep_command
from coded_als.delays import DelayStream
from coded_als.errors import UsageError
from coded_als.experiments.report.figures import slices
from coded_als.experiments.report.report import write_report
from coded_als.experiments.report.svg import Scale, axes, number
from coded_als.experiments.sweep.store import read_results

OPTIONS = [
    "--rows",
    "60",
    "--cols",
    "40",
    "--rank",
    "3",
    "--workers",
    "8:14:3",
    "--partitions",
    "2:3",
    "--repeats",
    "3",
]


SPECS = ("exp:mean=20ms", "bimodal:p=0.2,fast=1ms,slow=50ms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep")
    arguments = [*OPTIONS, "--stragglers", "0,1", "--protocol", "fused,paper", "--solver", "als"]
    arguments += ["--delays", SPECS[0], "--delays", SPECS[1], "--out", str(out)]
    assert CliRunner().invoke(sweep_command, arguments, catch_exceptions=False).exit_code == 0
    return out


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects what refers to somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_one_small_offline_file(folder: Path) -> None:
    page = write_report(folder).read_text()
    assert len(page.encode()) < 1e6
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert not tags.references
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "prefers-color-scheme:dark" in page


def test_every_drawing_is_well_formed_and_has_its_data(folder: Path) -> None:
    page = write_report(folder).read_text()
    drawings = re.findall(r"<svg viewBox=.*?</svg>(?=<details|</section)", page, flags=re.S)
    # per delay SPEC and number of dead workers: against h, against W, and the distribution; then the curves and the timeline
    assert len(drawings) == 2 * 2 * 3 + 2
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        for value in re.findall(r"-?\d+\.\d+", drawing):
            assert abs(float(value)) < 2000
        assert root.get("aria-label")
    assert page.count("<summary>Data and command</summary>") == len(drawings)
    assert page.count("Made by <code>coded-als") == len(drawings)


def test_numbers_in_the_tables_are_the_stored_ones(folder: Path) -> None:
    page = write_report(folder).read_text()
    for row in read_results(folder)[1]:
        if row["status"] == "done":
            assert f"{row['virtual_seconds_mean']:.4g}" in page
        else:
            assert row["reason"][:40] in page


def test_nothing_is_run_for_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a report must not run a cell")

    first = write_report(folder).read_bytes()
    # every cluster and every drawn time takes its delays from a stream
    monkeypatch.setattr(DelayStream, "__init__", refuse)
    monkeypatch.setattr(CodedALS, "fit", refuse)
    (folder / "report.html").unlink()
    result = CliRunner().invoke(report_command.command, [str(folder)], catch_exceptions=False)
    assert result.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == first


def test_seconds_of_different_clocks_solvers_and_losses_are_not_mixed(folder: Path) -> None:
    parts = slices(read_results(folder)[1], "virtual")
    assert [(part.delays, part.stragglers) for part in parts] == [(spec, dead) for spec in SPECS for dead in (0, 1)]
    for part in parts:
        assert {row["cell"]["solver"] for row in part.rows} == {"als"}
        assert {row["cell"]["delays"] for row in part.rows} == {part.delays}


def test_each_delay_model_has_figures_of_its_own(folder: Path) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", write_report(folder).read_text())
    of_cells = [title for title in titles if title.startswith(("Time against", "Distribution"))]
    assert [spec for title in of_cells for spec in SPECS if title.endswith(f"delays {spec}")] == [
        spec for spec in SPECS for _ in range(2 * 3)
    ]
    of_examples = [title for title in titles if title.startswith(("Objective", "Timeline"))]
    assert len(of_examples) == 2
    assert all(title.endswith(f"delays {SPECS[0]}") for title in of_examples)


def test_a_report_of_a_run_that_has_not_ended_is_in_the_order_of_the_grid(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "results.jsonl").read_text().splitlines()
    (tmp_path / "spec.json").write_text((folder / "spec.json").read_text())
    (tmp_path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines[::-1]))
    page = write_report(tmp_path).read_text()
    assert page.index(f"delays {SPECS[0]}") < page.index(f"delays {SPECS[1]}")


def test_a_folder_without_a_finished_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"kind": "sweep"}')
    with pytest.raises(UsageError, match="a finished cell"):
        write_report(tmp_path)


@given(st.floats(1e-9, 1e9), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_round_and_inside(low: float, span: float, logarithmic: bool) -> None:
    high = low * (1 + span) if logarithmic else low + span
    assume(high - low > 1e-6 * high)
    scale = Scale(low, high, 0.0, 100.0, logarithmic)
    ticks = scale.ticks()
    assert len(ticks) <= 16
    room = 1e-6 * (high - low)
    assert all(low - room <= tick <= high + room for tick in ticks)
    assert ticks == sorted(ticks)
    assert all(-0.01 <= scale(tick) <= 100.01 for tick in ticks)
    if not logarithmic:
        assert len(ticks) >= 3


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.02, "0.02"), (1500, "1500"), (1e-9, "1e-9"), (2e7, "2e7")])
def test_numbers_of_axes(value: float, text: str) -> None:
    assert number(value) == text


def test_a_plot_of_one_value_has_room() -> None:
    plot = axes([10], [0.5], "W", "seconds", whole_x=True)
    plot.line([10], [0.5], 0, "<only>")
    assert "&lt;only&gt;" in plot.render("one")
