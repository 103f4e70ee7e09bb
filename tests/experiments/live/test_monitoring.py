"""``/healthz``, ``/status`` and ``/metrics`` of a running fit, the token off loopback, and the dashboard."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import CodedALS, SimulatedCluster
from coded_als.cli import main
from coded_als.cluster import TaskEvent
from coded_als.errors import UsageError
from coded_als.experiments.live import served, watched
from coded_als.experiments.live.monitoring import CONTENT_TYPE, Figure, RoundClock, metrics_text
from coded_als.experiments.live.status import FitStatus, SweepStatus
from coded_als.master import LocalCluster
from coded_als.master.events import WorkerEvent

RATINGS = np.random.default_rng(0).standard_normal((60, 40))
DASHBOARD = Path(__file__).resolve().parents[3] / "deploy/grafana.json"
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-z]+)="([^"\\\n]*)"\})? (\S+)')


def parsed(text: str) -> dict[str, dict[str, float]]:
    """The samples of an exposition, by metric and label, read by the rules of the format."""
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    samples: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, said = line.removeprefix("# HELP ").split(" ", 1)
            assert said
            assert name not in kinds, "a metric is described once"
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert kind in ("gauge", "counter")
            assert (kind == "counter") == name.endswith("_total")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert list(kinds)[-1] == match[1], "samples follow their type"
            values = samples.setdefault(match[1], {})
            assert (match[3] or "") not in values
            values[match[3] or ""] = float(match[4])
    return samples


def get(address: str, path: str, **headers: str) -> tuple[int, str, str]:
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.headers["Content-Type"], response.read().decode()


def test_a_fit_on_real_workers_is_read_by_a_monitor() -> None:
    model = CodedALS(3, code="systematic:p=2", solver="als", iterations=6, tolerance=0.0)
    with LocalCluster(4) as cluster, watched(model, RATINGS.shape, cluster) as status, served(status) as address:
        assert get(address, "/healthz")[::2] == (200, "ok\n")
        before = parsed(get(address, "/metrics")[2])
        assert before["coded_als_workers_alive"] == {"": 4}
        assert "coded_als_iteration" not in before
        model.fit(RATINGS, cluster, callback=status.iteration)
        code, kind, text = get(address, "/metrics")
        found = json.loads(get(address, "/status")[2])
    assert (code, kind) == (200, CONTENT_TYPE)
    metrics = parsed(text)
    assert metrics["coded_als_iteration"] == {"": 6}
    assert metrics["coded_als_rounds_total"] == {"": len(model.rounds_)}
    used = sum(record.responses for record in model.rounds_)
    assert metrics["coded_als_tasks_total"]["counted"] == used
    assert sum(metrics["coded_als_worker_responses_total"].values()) == used
    assert metrics["coded_als_worker_up"] == dict.fromkeys("0123", 1)
    assert metrics["coded_als_objective"][""] == model.history_[-1].objective
    assert metrics["coded_als_round_seconds_total"][""] > 0
    assert metrics["coded_als_bytes_total"]["sent"] > 4 * 8 * 40
    assert metrics["coded_als_bytes_total"]["received"] > 0
    assert found["figures"]["iteration"] == 6
    assert found["figures"]["workers_alive"] == 4


def test_a_lost_worker_is_down_until_it_is_back() -> None:
    status = FitStatus("fit", 2, 1e-3, 5, lambda: 0.0, "wall")
    up = []
    for event in ("joined", "lost", "silent", "joined"):
        status.worker_event(WorkerEvent(1, event, 0.0))  # type: ignore[arg-type]
        up.append(parsed(metrics_text(status.figures()))["coded_als_worker_up"]["1"])
    assert up == [1, 0, 0, 1]


def test_rounds_are_timed_to_their_last_response() -> None:
    clock = RoundClock()
    for index, sent_s, received_s in ((0, 1.0, 1.5), (0, 1.1, 2.0), (1, 3.0, 3.25), (0, 1.0, 9.0), (2, 4.0, 4.5)):
        clock.note(index, sent_s, received_s)
    assert clock.waited_s == pytest.approx(1.0 + 0.25)


def test_figures_that_are_not_finite_are_written_as_the_format_has_them() -> None:
    figures = [Figure.of(name, "A figure.", float(name)) for name in ("inf", "nan")]
    assert metrics_text(figures).splitlines()[2::3] == ["coded_als_inf +Inf", "coded_als_nan NaN"]
    assert metrics_text([Figure.of("b", "Minus.", float("-inf"))]).endswith("coded_als_b -Inf\n")
    assert parsed(metrics_text(figures))["coded_als_inf"][""] == float("inf")


def test_a_sweep_has_figures_too() -> None:
    status = SweepStatus("sweep", "virtual")
    status.tell(2, 5)
    assert parsed(metrics_text(status.figures()))["coded_als_cells"] == {"": 5}


def test_others_than_this_machine_must_give_the_token() -> None:
    status = FitStatus("fit", 2, 1e-3, 5, lambda: 0.0, "wall")
    for host in ("0.0.0.0", "", "192.0.2.1"):
        with pytest.raises(UsageError, match="must come with a token"), served(status, host):
            pass
    with served(status, "0.0.0.0", token="secret") as address:
        near = address.replace("0.0.0.0", "127.0.0.1")
        assert get(near, "/healthz")[0] == 200
        for path in ("/", "/metrics", "/status", "/events", "/metrics?token=secre", "/metrics?token="):
            assert get(near, path)[0] == 403
        assert get(near, "/metrics", Authorization="Bearer wrong")[0] == 403
        assert get(near, "/metrics", Authorization="Bearer secret")[0] == 200
        assert get(near, "/status?token=secret")[0] == 200


def test_the_options_refuse_what_cannot_be_served(tmp_path: Path) -> None:
    fit = ["fit", "synthetic:m=60,n=40,d=5,noise=1", "--rank", "3", "--workers", "3", "--cluster", "inline"]
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for words, said in (
        (["--serve", "x"], "--serve must be PORT or HOST:PORT"),
        (["--serve", "70000"], "--serve must be PORT or HOST:PORT"),
        (["--serve", "0.0.0.0:0"], "must come with a token"),
        (["--serve", "0.0.0.0:0", "--serve-token", str(empty)], "must hold a token"),
        (["--serve", "0.0.0.0:0", "--serve-token", str(tmp_path / "absent")], "must be a readable file"),
    ):
        found = CliRunner().invoke(main, [*fit, *words])
        assert found.exit_code == 2, found.output
        assert said in found.stderr
    empty.write_text("secret\n")
    found = CliRunner().invoke(main, [*fit, "--serve", "0.0.0.0:0", "--serve-token", str(empty)])
    assert found.exit_code == 0, found.output
    assert "live view: http://0.0.0.0:" in found.stderr


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    """All figures of a fit, by the name of their metric."""
    model = CodedALS(3, solver="als", iterations=2)
    with SimulatedCluster(4) as cluster, watched(model, RATINGS.shape, cluster) as status:
        model.fit(RATINGS, cluster, callback=status.iteration)
        status.event(TaskEvent(0, "x", 0, "late", 0.0, 1.0))
        return {f"coded_als_{figure.name}": figure for figure in status.figures()}


PANELS = json.loads(DASHBOARD.read_text())["panels"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_there_are(panel: dict[str, Any], figures: dict[str, Figure]) -> None:
    for target in panel["targets"]:
        asked = re.findall(r"(rate\()?(coded_als_\w+)", target["expr"])
        assert asked
        for rate, name in asked:  # a counter only grows, so its rate is drawn, and that of nothing else
            assert (figures[name].kind == "counter") == bool(rate)
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == {figures[asked[-1][1]].label} - {""}
    in_seconds = all("seconds_total" in target["expr"] for target in panel["targets"])
    assert (panel["fieldConfig"]["defaults"]["unit"] == "s") == in_seconds
    assert panel["type"] != "table" or all(target["instant"] for target in panel["targets"])
    assert panel["title"] != "Distance from the optimum" or "log" in json.dumps(panel["fieldConfig"])


def test_no_two_panels_of_the_dashboard_share_a_place() -> None:
    taken = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert len(taken) == len(set(taken)) == 24 * (1 + max(y for _, y in taken))
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
