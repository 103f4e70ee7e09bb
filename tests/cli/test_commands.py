"""The command line as a user meets it: exit codes, one JSON document, one line for what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.als.products import StoredProduct
from coded_als.cli import COMMANDS, main
from coded_als.cluster.held import HeldArrays

SYNTHETIC = "synthetic:m=40,n=30,d=4,noise=0.1"


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def fails_with(code, message, *arguments):
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


@pytest.fixture
def ratings(tmp_path):
    """A small rating file with ids of text and a header."""
    rng = np.random.default_rng(0)
    lines = ["user,item,rating"]
    lines += [f"u{u},i{i},{rng.integers(1, 6)}" for u in range(12) for i in range(9) if rng.random() < 0.6]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_package_can_be_run():
    command = [sys.executable, "-m", "coded_als", "threshold", "--partitions", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["recovery_threshold"] == 3


def commands():
    for name, (module, _) in COMMANDS.items():
        command = import_module(module).command
        below = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        yield from ((f"{name} {inner}".strip(), one) for inner, one in below)


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_option_says_what_it_does(name, command):
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts[-1]}"
            assert not option.help.startswith("["), f"{name} {option.opts[-1]}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell):
    words = {"COMP_WORDS": "coded-als ev", "COMP_CWORD": "1" if shell != "fish" else "ev"}
    result = CliRunner().invoke(main, prog_name="coded-als", env={"_CODED_ALS_COMPLETE": f"{shell}_complete"} | words)
    assert "evaluate" in result.output


def test_a_verified_fit_names_whoever_computed_wrongly(monkeypatch):
    compute = HeldArrays.compute

    def wrong(arrays, worker, round):
        right = compute(arrays, worker, round)
        return tuple(2 * array for array in right) if worker in (0, 3) else right

    arguments = ("fit", SYNTHETIC, "--rank", 4, "--workers", 9, "--code", "systematic:p=4", "--cluster", "inline")
    objective = json.loads(run(*arguments, "--json").stdout)["objective"]
    monkeypatch.setattr(HeldArrays, "compute", wrong)
    document = json.loads(run(*arguments, "--verify", "freivalds", "--json").stdout)
    assert document["left_out"] == [0, 3]
    assert document["objective"] == pytest.approx(objective, rel=1e-8)
    assert "Responses of worker 0, 3 were wrong" in run(*arguments, "--verify", "freivalds").stderr


@pytest.mark.parametrize("cluster", ["inline", "local", "virtual"])
def test_fit_prints_one_json_document(cluster):
    result = run("fit", SYNTHETIC, "--rank", 4, "--workers", 6, "--partitions", 2, "--cluster", cluster, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert {
        "method", "solver", "code", "protocol", "m", "n", "rank", "workers", "recovery_threshold", "share_per_worker",
        "iterations", "objective", "seconds", "seconds_per_iteration", "max_error_estimate", "responses_per_round",
    } <= document.keys()  # fmt: skip
    assert (document["m"], document["n"], document["recovery_threshold"]) == (40, 30, 3)
    assert document["clock_of_seconds_per_iteration"] == ("virtual" if cluster == "virtual" else "wall")


@pytest.mark.parametrize("method", ["ridge", "bpr"])
def test_methods_that_cannot_prove_it_do_not_say_converged(ratings, method):
    document = json.loads(run("fit", ratings, "--method", method, "--rank", 2, "--iterations", 2, "--json").stdout)
    assert document["converged"] is None
    assert 0 <= document["last_change"] < 10
    text = run("fit", ratings, "--method", method, "--rank", 2, "--iterations", 2).output
    assert "the last iteration changed the objective by" in text
    assert "onverged" not in text
    assert (
        json.loads(run("fit", ratings, "--method", method, "--iterations", 1, "--json").stdout)["last_change"] is None
    )


@pytest.mark.parametrize("size", ["1e20", "1e-20"])
def test_ratings_of_any_size_give_finite_recommendations(tmp_path, size):
    rng, path, model = np.random.default_rng(0), tmp_path / "r.csv", tmp_path / "m.npz"
    triples = [(u, i) for u in range(12) for i in range(9) if rng.random() < 0.6]
    path.write_text("".join(f"u{u},i{i},{int(rng.integers(1, 6)) * float(size)!r}\n" for u, i in triples))
    assert run("fit", path, "--method", "ridge", "--rank", 2, "--out", model, "--json").exit_code == 0
    items = json.loads(run("recommend", model, "--user", "u3", "--json").stdout)["items"]
    assert items
    assert all(abs(item["score"]) < 1e3 * float(size) for item in items)


def test_every_cluster_gives_the_same_objective():
    objectives = [
        json.loads(run("fit", SYNTHETIC, "--rank", 4, "--cluster", name, "--json").stdout)["objective"]
        for name in ("inline", "local", "virtual")
    ]
    assert objectives == pytest.approx([objectives[0]] * 3, rel=1e-10)


def test_fit_save_recommend_evaluate(ratings, tmp_path):
    model = tmp_path / "model.npz"
    assert run("fit", ratings, "--rank", 2, "--cluster", "inline", "--out", model).exit_code == 0
    result = run("recommend", model, "--user", "u3", "-n", 2, "--json")
    items = json.loads(result.stdout)["items"]
    assert len(items) == 2
    assert all(item["item"].startswith("i") for item in items)
    rated = {line.split(",")[1] for line in ratings.read_text().splitlines() if line.startswith("u3,")}
    assert rated.isdisjoint(item["item"] for item in items)
    document = json.loads(run("evaluate", model, ratings, "--json").stdout)
    assert "ranking" in document
    assert "ratings" not in document  # the coded method's scores are no ratings


def test_fit_draws_its_run(tmp_path):
    trace, timeline = tmp_path / "trace.csv", tmp_path / "timeline.json"
    result = run("fit", SYNTHETIC, "--rank", 2, "--workers", 6, "--record-delays", trace, "--timeline", timeline)
    assert result.exit_code == 0, result.output
    assert trace.read_text().startswith("worker,round,seconds")
    assert json.loads(timeline.read_text())["traceEvents"]
    again = run("fit", SYNTHETIC, "--rank", 2, "--workers", 6, "--cluster", "virtual", "--delays", f"trace:{trace}")
    assert again.exit_code == 0, again.output


def test_threshold():
    document = json.loads(run("threshold", "--partitions", 6, "--workers", 50, "--json").stdout)
    assert (document["recovery_threshold"], document["enough_at_best"], document["paper_threshold"]) == (21, 21, 41)
    always = document["always_enough_at_tolerance"]
    assert 36 < always < 50
    assert document["stragglers_tolerated"] == 50 - always
    assert not document["proved"]
    largest = json.loads(run("threshold", "--workers", 30, "--code", "entangled:points=real", "--json").stdout)
    assert largest["code"] == "entangled:h=5,points=real"
    systematic = json.loads(run("threshold", "--workers", 30, "--code", "systematic:p=15", "--json").stdout)
    assert (systematic["recovery_threshold"], systematic["paper_threshold"]) == (15, None)
    assert systematic["redundancy"] == pytest.approx(2)
    assert run("threshold", "--code", "replicated:copies=3").stdout.startswith("1 of 3 workers are always enough")
    fails_with(2, "threshold needs --workers", "threshold", "--code", "systematic")


def test_tolerated_means_whoever_is_missing():
    copies = run("threshold", "--code", "replicated:copies=3", "--workers", 50).stdout
    assert copies.startswith("48 of 50 workers are always enough with replicated:copies=3: 2 stragglers tolerated; 16")
    searched = run("threshold", "--code", "systematic:p=21", "--workers", 30).stdout
    assert "found by search over" in searched
    assert "21 are always enough to decode to some error" in searched
    loose = run("threshold", "--code", "systematic:p=21", "--workers", 30, "--decoding-tolerance", 1e-3).stdout
    assert loose.startswith("21 of 30 workers are always enough")
    assert run(
        "threshold", "--code", "systematic:p=6", "--workers", 7, "--decoding-tolerance", 1e-17
    ).stdout.startswith("not even all 7 workers decode to 1e-17")
    assert "is not searched" in run("threshold", "--code", "systematic:p=1500", "--workers", 2000).stdout
    fails_with(2, "--decoding-tolerance must be", "threshold", "--partitions", 2, "--decoding-tolerance", -1)


@pytest.mark.parametrize(("code", "expected"), [("replicated:copies=3", (4, 2, 2)), ("systematic:p=4", (4, 4, 2))])
def test_a_fit_tells_what_is_enough_and_why_it_took_its_code(code, expected):
    arguments = ["fit", SYNTHETIC, "--rank", 2, "--workers", 6, "--cluster", "virtual"]
    document = json.loads(run(*arguments, "--code", code, "--json").stdout)
    found = tuple(document[name] for name in ("recovery_threshold", "enough_at_best", "stragglers_tolerated"))
    assert found == expected
    assert document["proved"]
    assert f"code {code}, as asked\n" in run(*arguments, "--code", code).stdout
    chosen = run(*arguments, "--delays", "exp:mean=20ms").stdout
    assert "chosen by auto: the fastest that plan expects under these delays" in chosen
    assert "code systematic:p=4, chosen by auto: rounds are too short for shares in pieces" in run(*arguments).stdout
    lacking = run(*arguments, "--memory-per-worker", "1.5kB").stdout
    assert "chosen by auto: memory_per_worker has room for 1/5 of D" in lacking
    fails_with(2, "like 500MB or 2GB", *arguments, "--memory-per-worker", "lots")


def test_doctor_is_content_here():
    result = run("doctor", "--json")
    findings = json.loads(result.stdout)["findings"]
    assert {finding["name"] for finding in findings} >= {"numpy", "decoding", "worker processes"}
    assert [finding for finding in findings if not finding["ok"]] == []
    assert result.exit_code == 0


def test_doctor_notices_wrong_products(monkeypatch):
    monkeypatch.setattr(StoredProduct, "__call__", lambda self, right: 1.001 * right)
    result = run("doctor")
    assert result.exit_code == 1
    wrong = [line for line in result.stdout.splitlines() if line.startswith("WARN")]
    assert [line.split(":")[0] for line in wrong] == ["WARN  decoding", "WARN  worker processes"]
    assert all("Report a bug." in line for line in wrong)


def test_compare(ratings):
    result = run("compare", ratings, "--methods", "coded", "--rank", 2, "-k", 3, "--format", "csv")
    assert result.exit_code == 0, result.output
    header, row = result.stdout.splitlines()
    assert header.startswith("method,rmse,mae,hit_rate")
    assert row.startswith("coded,,,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", 31], "rank must be between 1 and min(rows, columns) = 30; got 31"),
        (["--rank", 0], "rank must be a whole number of at least 1; got 0"),
        (["--rank", 4, "--partitions", 4, "--workers", 9], "workers must be at least 10 for code entangled:h=4"),
        (["--rank", 4, "--partitions", 31, "--workers", 999], "parts must be between 1 and"),
        (["--rank", 4, "--delays", "weibull:k=1"], "delays must be one of none,"),
        (["--rank", 4, "--delays", "exp:mean=soon"], "mean must be a time with its unit, like 20ms or 1s; got 'soon'"),
        (["--rank", 4, "--workers", 0], "--workers must be from 1 to"),
        (["--rank", 4, "--method", "ridge", "--partitions", 3], "--partitions belongs to the coded method"),
        (["--rank", 4, "--method", "ridge", "--round-timeout", "3s"], "--round-timeout belongs to the coded method"),
        (["--rank", 4, "--cluster", "inline", "--round-timeout", "3s"], "--round-timeout belongs to worker processes"),
        (["--rank", 4, "--round-timeout", 0], "--round-timeout must be a number > 0; got 0"),
        (["--rank", 4, "--out", "/no/such/folder/model.npz"], "--out must be a file in an existing folder"),
    ],
)
def test_bad_parameters_are_one_line(arguments, message):
    fails_with(2, message, "fit", SYNTHETIC, "--json", *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"u,i,r\n1,2,3\n1,3,nan\n", "line 3"),
        (b"1,2,3\n1,3,inf\n", "line 2"),
        (b"1,2,3\n1,3,four\n", "line 2"),
        (b"1,2,3\n4,5,1\n1,2,4\n", "lines 1 and 3"),
        (b"\x00\x01\x02\xff", ""),
    ],
)
def test_bad_files_are_one_line_and_nothing_is_written(content, message, tmp_path):
    path, out = tmp_path / "ratings.txt", tmp_path / "model.npz"
    path.write_bytes(content)
    fails_with(2, message, "fit", path, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_truncated_binaries_are_one_line(suffix, tmp_path):
    path = tmp_path / f"ratings.{suffix}"
    matrix = np.ones((20, 20))
    np.save(path, matrix) if suffix == "npy" else np.savez(path, data=matrix)
    path.write_bytes(path.read_bytes()[:200])
    fails_with(2, str(path.name), "fit", path)


def test_rank_above_the_rank_of_the_matrix_is_one_line():
    fails_with(
        2, "here 4 as far as rounding can tell; got 9", "fit", "synthetic:m=40,n=30,d=4,noise=0", "--rank", 9,
        "--cluster", "inline",
    )  # fmt: skip


def test_real_points_beyond_their_digits_are_an_error_with_its_remedy():
    fails_with(
        1, "points=circle", "fit", SYNTHETIC, "--rank", 4, "--code", "entangled:points=real", "--partitions", 6, "--workers", 50,
        "--cluster", "inline",
    )  # fmt: skip


def test_too_few_live_workers_are_an_error():
    fails_with(
        1, "9 are alive", "fit", SYNTHETIC, "--rank", 4, "--partitions", 4, "--workers", 12, "--delays", "dead:n=3"
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no more", b"no model"])
def test_a_bad_model_is_one_line(content, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    fails_with(2, "a model must be a complete file that", "recommend", path, "--user", "1")


def test_unknown_user_is_one_line(tmp_path):
    model = tmp_path / "model.npz"
    run("fit", SYNTHETIC, "--rank", 2, "--cluster", "inline", "--out", model)
    fails_with(2, "the user must be one of the 40", "recommend", model, "--user", "400")


def test_a_full_disk_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = [sys.executable, "-c", "from coded_als.cli import main; main()", "threshold", "--partitions", "2"]
    with open("/dev/full", "w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert run.returncode == 1
    assert run.stderr == "Error: No space left on device; the output is incomplete. Free the disk or redirect.\n"


def test_users_held_out_of_a_fit_are_evaluated(tmp_path):
    graph, model = "synthetic-graph:nodes=400,links=6,domains=4,local=0.9", tmp_path / "model.npz"
    fit = ("fit", graph, "--method", "implicit", "--rank", 8, "--out", model)
    assert run(*fit).exit_code == 0
    fails_with(2, "fit --hold-out-users 0.1", "evaluate", model, graph, "--protocol", "strong")
    assert run(*fit, "--hold-out-users", 0.1).exit_code == 0
    scores = json.loads(run("evaluate", model, graph, "--protocol", "strong", "--json").stdout)["strong"]
    assert scores.keys() == {"users", "recall@20", "recall@50", "popularity@20", "popularity@50"}
    assert 20 < scores["users"] < 40
    printed = run("evaluate", model, graph, "--protocol", "strong", "--seed", 2).stdout
    assert re.search(r"^recall@20 +0\.", printed, flags=re.M)
    fails_with(2, "--cutoff belongs to --protocol weak", "evaluate", model, graph, "--protocol", "strong", "-k", 5)
    fails_with(2, "fraction must leave users", *fit, "--hold-out-users", 2)
