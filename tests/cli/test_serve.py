"""`serve`: answers are those of the model, bad requests get one line, and no request names a file."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import ImplicitALS
from coded_als.cli.scored_together import rank_together
from coded_als.cli.serve import MOST_BYTES, ModelServer
from coded_als.data import RatingData


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    values = (np.random.default_rng(0).random((40, 25)) < 0.3).astype(float)
    values[39] = 0
    users, items = [f"u{one}" for one in range(40)], list(range(100, 125))
    data = RatingData(sparse.csr_array(values), np.array(users), np.array(items), "a test")
    model = ImplicitALS(4).fit(data)
    rank_together(model)
    running = ModelServer(("127.0.0.1", 0), model)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def ask(server: ModelServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
    with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=20)) as connection:  # type: ignore[arg-type]
        connection.request(method, path, sent, headers)
        response = connection.getresponse()
        text = response.read().decode()
    return response.status, json.loads(text) if response.headers["Content-Type"] == "application/json" else text


def items(ranking: Any) -> list[dict[str, Any]]:
    return [{"item": item, "score": score} for item, score in zip(*map(np.ndarray.tolist, ranking), strict=True)]


def test_answers_are_those_of_the_model(server: ModelServer) -> None:
    model = server.model
    assert ask(server, "GET", "/health") == (200, {"status": "ok", "method": "implicit", "users": 40, "items": 25})
    assert ask(server, "GET", "/recommend?user=u3&n=4")[1] == {"user": "u3", "items": items(model.recommend("u3", 4))}
    both = ask(server, "GET", "/recommend?user=u3&user=u4")[1]["lists"]
    assert [one["user"] for one in both] == ["u3", "u4"]
    assert ask(server, "GET", "/similar?item=104&n=3")[1]["items"] == items(model.similar_items(104, 3))
    new = ask(server, "POST", "/recommend", {"ratings": {"104": 5, "107": 2.5}, "n": 6})[1]
    assert new["items"] == items(model.recommend_new({104: 5, 107: 2.5}, 6))
    ignored = ask(server, "POST", "/recommend", {"ratings": {"104": 5, "no": 1}, "unknown": "ignore"})
    assert ignored[0] == 200
    assert ask(server, "GET", "/recommend?user=u39&cold=popular")[0] == 200
    status, text = ask(server, "GET", "/metrics")
    assert status == 200
    assert 'coded_als_requests_total{status="200"}' in text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/../../etc/passwd", None, 404),
        ("GET", "/recommend/../health", None, 404),
        ("GET", "/recommend", None, 400),
        ("GET", "/recommend?user=nobody", None, 400),
        ("GET", "/recommend?user=u39", None, 400),
        ("GET", "/recommend?user=u1&n=0", None, 400),
        ("GET", "/recommend?user=u1&n=99999999999999999", None, 400),
        ("GET", "/recommend?user=u1&path=/etc/passwd", None, 400),
        ("GET", "/recommend?" + "&".join(f"user=u{one}" for one in range(300)), None, 400),
        ("GET", "/similar?item=none", None, 400),
        ("POST", "/similar", "{}", 405),
        ("DELETE", "/recommend", None, 501),
        ("POST", "/recommend", "not json", 400),
        ("POST", "/recommend", "[" * 100_000, 400),
        ("POST", "/recommend", [1], 400),
        ("POST", "/recommend", {}, 400),
        ("POST", "/recommend", {"ratings": {}}, 400),
        ("POST", "/recommend", {"ratings": {"104": "five"}}, 400),
        ("POST", "/recommend", '{"ratings": {"104": NaN}}', 400),
        ("POST", "/recommend", {"ratings": {"104": True}}, 400),
        ("POST", "/recommend", {"ratings": {"no": 1}}, 400),
        ("POST", "/recommend", {"ratings": {"104": 1}, "unknown": []}, 400),
        ("POST", "/recommend", {"ratings": {"104": 1}, "exclude": [[1]]}, 400),
        ("POST", "/recommend", {"ratings": {"104": 1}, "n": True}, 400),
        ("POST", "/recommend", {"ratings": {"104": 1}, "model": "other.npz"}, 400),
        ("POST", "/recommend", "x" * (MOST_BYTES + 1), 413),
    ],
)
def test_bad_requests_get_one_line(server: ModelServer, method: str, path: str, body: Any, status: int) -> None:
    try:
        got, answer = ask(server, method, path, body)
    except (BrokenPipeError, ConnectionResetError):
        assert status == 413  # it is not read to the end
        return
    assert got == status
    assert set(answer) == {"error"}
    assert "\n" not in answer["error"]
    assert ask(server, "GET", "/health")[0] == 200


def test_other_hosts_and_other_protocols_are_refused(server: ModelServer) -> None:
    assert ask(server, "GET", "/health", Host="evil.example")[0] == 403
    for given in (b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(server.server_address[:2], timeout=20) as client:  # type: ignore[arg-type]
            client.sendall(given)
            assert b"Traceback" not in client.recv(4096)
    assert ask(server, "GET", "/health")[0] == 200


def test_several_requests_share_a_connection(server: ModelServer) -> None:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)  # type: ignore[arg-type]
    for _ in range(5):
        connection.request("GET", "/recommend?user=u1")
        assert connection.getresponse().read()
    connection.close()
