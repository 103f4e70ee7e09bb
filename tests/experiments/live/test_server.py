"""The live page: what it serves, to whom, and that a browser follows a fit to its end."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from coded_als import CodedALS, SimulatedCluster
from coded_als.errors import UsageError
from coded_als.experiments.live.monitoring import Figure
from coded_als.experiments.live.server import served
from coded_als.experiments.live.status import FitStatus, SweepStatus
from coded_als.experiments.live.view import Line, View
from coded_als.experiments.sweep.grids import Cell
from coded_als.planner.schemes import Scheme
from tests.browser import PROGRAM, browser_page


class Scripted:
    """A status whose view is set by the test."""

    def __init__(self, title: str = "first") -> None:
        self.title, self.ended = title, False

    def view(self) -> View:
        lines = (Line(("0", "late"), "late", "+x!."), Line(("1", "in time")))
        return View(self.title, (("time left", "3.0 s"),), ("worker", "state"), lines, 0.25, self.ended)

    def figures(self) -> list[Figure]:
        return [Figure.of("finished", "Whether it has ended.", self.ended)]

    def finish(self) -> None:
        self.ended = True


def get(address: str, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Name and data of each event."""
    name = "message"
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, line.removeprefix("data: ")
            name = "message"


def test_events_follow_the_status_and_end_with_it() -> None:
    status, stop = Scripted(), threading.Event()
    with served(status) as address:
        stream = events(get(address, "/events"))
        name, data = next(stream)
        assert (name, json.loads(data)["title"]) == ("message", "first")
        status.title = "second"
        assert json.loads(next(stream)[1])["title"] == "second"
        status.finish()
        assert json.loads(next(stream)[1])["finished"]
        # nobody reads this one
        idle = get(address, "/events")
        stop.set()
    assert list(stream) == [("end", "0")]
    idle.close()
    with pytest.raises(ConnectionError):
        get(address)


def test_the_page_refers_to_nothing_else_and_names_of_elsewhere_are_refused() -> None:
    with served(Scripted()) as address:
        assert address.startswith("http://127.0.0.1:")
        response = get(address)
        page = response.read().decode()
        assert response.status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "://" not in page
        assert get(address, "/other").status == 404
        assert get(address, Host="attacker.example:80").status == 403
        assert get(address, "/events", Host="attacker.example").status == 403


def test_a_port_in_use_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"got {port}: Address already in use"), served(Scripted(), port=port):
            pass


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
def test_a_browser_follows_a_fit_to_its_end() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 40))
    with browser_page() as page, SimulatedCluster(workers=8, delays="exp:mean=20ms", seed=0) as cluster:
        status = FitStatus("<b>fit</b>", 8, 1e-3, 40, cluster.seconds, "virtual")
        cluster.observers.append(status.event)
        with served(status) as address:
            page.open(address, width=500)
            page.until("document.getElementById('state').textContent == 'running'")
            assert page.value("document.querySelectorAll('#lines tr').length") == 8
            CodedALS(rank=3, solver="als", iterations=40, tolerance=1e-3).fit(
                ratings, cluster, callback=status.iteration
            )
            page.until("document.getElementById('facts').textContent.includes('estimated decoding error')")
            status.finish()
            page.until("document.getElementById('state').textContent == 'ended'")
        assert page.value("document.getElementById('title').textContent") == "<b>fit</b>"
        assert page.value("document.getElementById('bar').value") == 1
        assert page.value("document.querySelectorAll('#lines i.plus').length") > 8
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
        assert page.problems == []


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
def test_a_browser_shows_why_a_cell_of_a_sweep_cannot_run() -> None:
    status, reason = SweepStatus("sweep", "virtual"), "workers must be at least 17; got 12. Add workers, or lower h."
    cell = Cell(Scheme("entangled:h=4,points=real", 12), 0, "exp:mean=20ms").key()
    status.tell(1, 2, {"cell": cell, "status": "infeasible", "reason": reason})
    with browser_page() as page, served(status) as address:
        page.open(address, width=500)
        page.until("document.querySelectorAll('#lines tr').length == 1")
        assert page.value("document.querySelector('#lines .long').textContent") == reason
        # a narrow page shows all of it without scrolling sideways
        assert page.value("document.querySelector('#lines .long').getBoundingClientRect().right <= innerWidth")
        assert page.problems == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from coded_als.cli import main; main()"]
    return subprocess.run([*start, *arguments], capture_output=True, text=True, timeout=60)


def test_fit_and_sweep_take_the_options(tmp_path) -> None:
    problem = ["synthetic:m=60,n=40,d=5,noise=1", "--rank", "3", "--workers", "6", "--cluster", "virtual"]
    fit = run("fit", *problem, "--live", "--serve", "0", "--json")
    assert fit.returncode == 0, fit.stderr
    assert json.loads(fit.stdout)["workers"] == 6
    assert "live view: http://127.0.0.1:" in fit.stderr
    assert "none: it has ended" in fit.stderr
    size = ["--rows", "60", "--cols", "40", "--rank", "3", "--workers", "8", "--partitions", "2", "--repeats", "2"]
    sweep = run("sweep", *size, "--live", "--serve", "0", "--out", str(tmp_path / "out"))
    assert sweep.returncode == 0, sweep.stderr
    assert "5 of 5, 0 of them from an earlier run" in sweep.stderr


def test_live_belongs_to_the_coded_method() -> None:
    refused = run("fit", "synthetic:m=60,n=40,d=5,noise=1", "--method", "ridge", "--live")
    assert refused.returncode == 2
    assert "--live belongs to the coded method" in refused.stderr
