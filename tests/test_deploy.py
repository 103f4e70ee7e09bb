"""The files of deploy/ do their work, as far as one machine can tell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from coded_als.cli import COMMANDS, main
from coded_als.cluster import Round, all_of
from coded_als.master import RemoteCluster
from coded_als.master.key_files import make_keys
from tests.master.processes import all_end_within, children
from tests.master.test_remote import free_port

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
PROGRAM = Path(sys.executable).parent / "coded-als"


def text_of(path: Path) -> str:
    return path.read_text().replace("\\\n", " ")


def commands_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of coded-als in a text, and their options."""
    for name, rest in re.findall(r"coded-als ([a-z-]+)((?: +[^\s;<>'\"]+|\s+--[^\s;'\"]+| \"[^\"]*\")*)", text):
        if name in COMMANDS:
            yield name, re.findall(r"--[a-z-]+", rest)


@pytest.mark.parametrize("path", [*sorted(DEPLOY.iterdir()), ROOT / "docs/clusters.md"], ids=lambda path: path.name)
def test_commands_name_options_that_there_are(path: Path) -> None:
    for name, options in commands_in(text_of(path)):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options) <= known, (name, set(options) - known)


def test_the_reader_of_commands_sees_the_options() -> None:
    found = list(commands_in(text_of(DEPLOY / "coded-als-fit.service")))
    assert (
        "fit",
        ["--listen", "--keys", "--workers", "--rank", "--checkpoint", "--resume", "--out", "--log-level"],
    ) in found
    assert ("worker", ["--connect", "--key-file", "--log-level"]) in commands_in(text_of(DEPLOY / "start-workers.sh"))


def test_systemd_knows_every_word_of_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    units = []
    for unit in DEPLOY.glob("*.service"):
        units.append(tmp_path / unit.name)
        units[-1].write_text(unit.read_text().replace("/opt/coded-als/bin/coded-als", str(PROGRAM)))
    run = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert len(units) == 2


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a home for each host, in which an ``ssh`` of the test runs its commands."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        f'#!/bin/sh\n[ "$1" = -n ] && {{ shift; exec < /dev/null; }}\nmkdir -p "{tmp_path}/$1" && cd "{tmp_path}/$1"\n'
        'shift\nexec sh -c "$*"\n'
    )
    ssh.chmod(0o700)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{PROGRAM.parent}:{os.environ['PATH']}")
    return tmp_path


def test_workers_start_by_ssh_and_by_slurm_and_end(hosts: Path) -> None:
    keys, address = hosts / "keys", f"tcp://127.0.0.1:{free_port()}"
    make_keys(keys, 3)
    (hosts / "hosts.txt").write_text("one\n\ntwo\n")
    words = [DEPLOY / "start-workers.sh", hosts / "hosts.txt", keys, address]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    pids = [int((hosts / host / f".coded-als/worker-{n}.pid").read_text()) for n, host in enumerate(("one", "two"))]
    environment = {**os.environ, "MASTER": address, "KEYS": str(keys), "SLURM_ARRAY_TASK_ID": "2"}
    job = subprocess.Popen(["sh", DEPLOY / "workers.slurm"], env=environment, stderr=subprocess.DEVNULL)
    try:
        assert said.splitlines() == ["worker 0 on one", "worker 1 on two"]
        assert (hosts / "one/.coded-als/worker-0.key").stat().st_mode & 0o077 == 0
        with RemoteCluster(address, 3, keys=keys, join_timeout_s=60) as cluster:
            cluster.store("one", [np.ones((1, 1, 1))] * 3)
            round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 3, response_shapes=((1, 1, 1),))
            assert set(cluster.run(round, all_of(3)).workers) == {0, 1, 2}
        assert job.wait(20) == 0
    finally:
        job.kill()
        running = {*pids, *(child for pid in pids for child in children(pid))}
        for pid in pids:  # as the script says that a worker is stopped
            os.killpg(pid, 15)
        assert all_end_within(running, 10)


def manifests() -> dict[str, dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def test_the_manifests_fit_together() -> None:
    found = manifests()
    assert set(found) == {"Service", "StatefulSet", "PersistentVolumeClaim", "Job"}
    workers, fit = (found[kind]["spec"]["template"] for kind in ("StatefulSet", "Job"))
    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"] == workers["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == fit["metadata"]["labels"]
    for pod in (workers["spec"], fit["spec"]):
        [container] = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        assert container["command"] == ["sh", "-c"]
        assert subprocess.run(["sh", "-n", "-c", *container["args"]]).returncode == 0
    assert f"--workers {found['StatefulSet']['spec']['replicas']} " in fit["spec"]["containers"][0]["args"][0]
    service = f"tcp://{found['Service']['metadata']['name']}:{found['Service']['spec']['ports'][0]['port']}"
    assert service in workers["spec"]["containers"][0]["args"][0]


def test_a_pod_takes_the_key_of_its_number(tmp_path: Path) -> None:
    program = tmp_path / "coded-als"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o700)
    [container] = manifests()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOSTNAME": "coded-als-worker-17"}
    said = subprocess.run(["sh", "-c", *container["args"]], env=environment, capture_output=True, text=True, check=True)
    assert "--key-file /keys/worker-17.key" in said.stdout


def test_the_image_is_built_of_files_and_extras_that_there_are() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"'\.\[([a-z,]+)\]'", text)) <= set(extras)
    for line in text.splitlines():
        if line.startswith("COPY "):
            assert all((ROOT / name).exists() for name in shlex.split(line)[1:-1])
