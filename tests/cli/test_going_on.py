"""`fit --start`, `--stop-on`, `--validate` and `--patience`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coded_als import load_model
from coded_als.cli import main


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["fit", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    lines = [f"u{user}\ti{item}\t{1 + (user + item) % 5}" for user in range(40) for item in range(25)]
    given = generator.random(len(lines))
    (tmp_path / "old.tsv").write_text("\n".join(line for line, one in zip(lines, given, strict=True) if one < 0.4))
    (tmp_path / "all.tsv").write_text("\n".join(line for line, one in zip(lines, given, strict=True) if one < 0.5))
    (tmp_path / "validation.tsv").write_text(
        "\n".join(line for line, one in zip(lines, given, strict=True) if one > 0.8)
    )
    return tmp_path


@pytest.mark.parametrize(
    "method",
    [
        ["coded", "--cluster", "inline", "--workers", 4],
        ["implicit"],
        ["ridge", "--policy", "wait", "--cluster", "inline"],
    ],
    ids=lambda method: str(method[0]),
)
def test_a_fit_goes_on_from_a_saved_model_and_stops_early(files: Path, method: list[object]) -> None:
    old, new = files / "old.npz", files / "new.npz"
    assert fit(files / "old.tsv", "--method", *method, "--rank", 3, "--out", old).exit_code == 0
    stopping = ["--stop-on", "recall@5", "--validate", files / "validation.tsv", "--patience", 2]
    result = fit(files / "all.tsv", "--method", *method, "--rank", 4, "--start", old, *stopping, "--out", new, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert 1 <= document["best_iteration"] <= document["iterations"]
    assert 0 <= document["validation"] <= 1
    assert load_model(new).item_factors_.shape[1] == 4
    assert load_model(new).user_rows(["u3"])[0] >= 0
    told = fit(files / "all.tsv", "--method", *method, "--rank", 4, *stopping).output
    assert "the best on the validation part" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "old.npz", "--checkpoint", "kept", "--resume"], "--start and --resume"),
        (["--stop-on", "ndcg@10"], "--stop-on must come with --validate"),
        (["--patience", 2], "--patience with both"),
        (["--stop-on", "ndcg@ten", "--validate", "validation.tsv"], "such as ndcg@10"),
        (["--stop-on", "auc", "--validate", "validation.tsv"], "such as ndcg@10, of ndcg, recall"),
        (["--start", "none.npz"], "none.npz"),
        (["--start", "old.tsv"], "old.tsv"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    files: Path, options: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    result = fit("all.tsv", "--method", "implicit", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
