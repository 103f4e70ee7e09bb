"""Output files of `fit`: never an input, refused before the fit, and none lost for another's sake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from coded_als.cli import fit_running, main
from coded_als.models.persistence import load_model

RATINGS = "".join(f"{user} {item} {1 + (user * item) % 5}\n" for user in range(12) for item in range(8))


def fit(*arguments: object) -> Result:
    options = ["--rank", 2, "--workers", 4, "--cluster", "inline", *arguments]
    return CliRunner().invoke(main, ["fit", *map(str, options)], catch_exceptions=False)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.txt"
    path.write_text(RATINGS)
    return path


def refused_before_the_fit(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("the fit must not start")

    monkeypatch.setattr(fit_running, "fit_coded", refuse)


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("option", ["--out", "--timeline", "--record-delays"])
@pytest.mark.parametrize("link", ["same", "relative", "symbolic", "hard"])
def test_an_output_is_no_input(ratings: Path, option: str, link: str) -> None:
    target = ratings.parent / "other.npz"
    if link == "symbolic":
        target.symlink_to(ratings)
    elif link == "hard":
        target.hardlink_to(ratings)
    else:
        target = ratings if link == "same" else ratings.parent / "." / ".." / ratings.parent.name / ratings.name
    refused_before_the_fit(fit(ratings, option, target), "holds the ratings")
    assert ratings.read_text() == RATINGS


@pytest.mark.usefixtures("unfitted")
def test_outputs_are_not_each_other_nor_the_delays(ratings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused_before_the_fit(fit(ratings, "--out", out, "--timeline", out), "holds the file of --out")
    trace = tmp_path / "trace.csv"
    trace.write_text("worker,round,seconds\n0,0,0.1\n")
    refused_before_the_fit(fit(ratings, "--delays", f"trace:{trace}", "--out", trace), "holds the delays")
    assert trace.read_text().startswith("worker")


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("option", ["--out", "--timeline", "--record-delays"])
@pytest.mark.parametrize("place", ["absent/file", "folder", "ratings.txt/file"])
def test_a_place_that_takes_no_file_is_refused(ratings: Path, option: str, place: str) -> None:
    (ratings.parent / "folder").mkdir()
    refused_before_the_fit(fit(ratings, option, ratings.parent / place), "Make the folder or choose another")


@pytest.mark.usefixtures("unfitted")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file even from root: /proc")
@pytest.mark.parametrize("option", ["--out", "--timeline", "--record-delays"])
def test_an_unwritable_folder_is_noticed_before_the_fit(ratings: Path, option: str) -> None:
    refused_before_the_fit(fit(ratings, option, "/proc/file"), "must be writable")


@pytest.mark.usefixtures("unfitted")
def test_a_model_goes_to_a_regular_file(ratings: Path) -> None:
    refused_before_the_fit(fit(ratings, "--out", os.devnull), "--out must be a file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_costs_the_recording_alone(ratings: Path, tmp_path: Path) -> None:
    model, timeline = tmp_path / "model.npz", tmp_path / "timeline.json"
    result = fit(ratings, "--out", model, "--record-delays", "/dev/full", "--timeline", timeline)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert load_model(model).rank == 2
    assert timeline.stat().st_size > 0
