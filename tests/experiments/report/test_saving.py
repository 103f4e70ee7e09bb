"""Figures as files: fonts inside, the same bytes each time, one for each format."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli.fit import command as fit
from coded_als.cli.report import command as report
from coded_als.errors import UsageError
from coded_als.experiments.report.canvas import add_legend, new_axes
from coded_als.experiments.report.saving import parse_formats


def test_each_figure_is_saved_in_each_format_under_the_name_that_the_page_says(folder: Path, tmp_path: Path) -> None:
    # one slice is enough: no figure of delay models, no examples
    rows = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "spec.json").write_text((folder / "spec.json").read_text())
    (tmp_path / "results.jsonl").write_text("".join(rows[:5]))
    result = CliRunner().invoke(report, [str(tmp_path), "--figures", "pdf,svg"], catch_exceptions=False)
    assert result.output.splitlines() == [str(tmp_path / "report.html"), str(tmp_path / "figures")]
    pdfs = {path.stem for path in (tmp_path / "figures").glob("*.pdf")}
    svgs = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    named = re.findall(r"File name: <code>(.*?)</code>", (tmp_path / "report.html").read_text())
    assert pdfs == svgs == set(named)
    assert len(named) == 4
    for path in (tmp_path / "figures").glob("*.svg"):
        ElementTree.parse(path)


def some_figure():
    figure, axes = new_axes("workers W", "virtual seconds")
    axes.plot([1, 2], [3, 4], label="series")
    add_legend(figure)
    return figure


def test_a_pdf_has_its_fonts_inside_and_no_type_3(tmp_path: Path) -> None:
    some_figure().savefig(tmp_path / "figure.pdf")
    data = (tmp_path / "figure.pdf").read_bytes()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, flags=re.S):
        try:
            data += zlib.decompress(stream.strip())
        except zlib.error:
            continue
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_figure_is_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        some_figure().savefig(tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_text_in_an_svg_is_text(tmp_path: Path) -> None:
    some_figure().savefig(tmp_path / "figure.svg")
    texts = {node.text for node in ElementTree.parse(tmp_path / "figure.svg").iter() if node.tag.endswith("text")}
    assert {"workers W", "virtual seconds", "series"} <= texts


def test_a_figure_shows_itself_in_a_notebook() -> None:
    assert some_figure()._repr_png_().startswith(b"\x89PNG")


def test_formats_are_among_three() -> None:
    assert parse_formats("PDF, svg,pdf") == ("pdf", "svg")
    with pytest.raises(UsageError, match="got 'jpg'"):
        parse_formats("pdf,jpg")


def test_fit_draws_its_timeline(tmp_path: Path) -> None:
    np.save(tmp_path / "ratings.npy", np.random.default_rng(0).standard_normal((40, 30)))
    arguments = [str(tmp_path / "ratings.npy"), "--rank", "3", "--workers", "6", "--cluster", "virtual"]
    arguments += ["--delays", "exp:mean=20ms", "--timeline", str(tmp_path / "timeline.svg")]
    assert CliRunner().invoke(fit, arguments, catch_exceptions=False).exit_code == 0
    assert "virtual seconds" in (tmp_path / "timeline.svg").read_text()


def test_without_matplotlib_a_report_says_what_to_install(tmp_path: Path) -> None:
    without = "import sys; sys.modules['matplotlib'] = None; from coded_als.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", without, "report", str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.strip() == (
        "Error: figures need matplotlib; it is not installed. pip install 'coded-als[report]'."
    )
