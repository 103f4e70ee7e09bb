"""`serve`: answers are those of the model, bad requests get one line, and no request names a file."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

from coded_als import ImplicitALS
from coded_als.cli import main
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
        ("GET", "/recommend?user=u1&n=", None, 400),
        ("GET", "/recommend?user=u1&user=", None, 400),
        ("GET", "/recommend?user=" + "A" * 50_000, None, 400),
        ("GET", "/similar?item=104&cold=popular", None, 400),
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
        ("POST", "/recommend", {"ratings": {"104": 10**400}}, 400),
        ("POST", "/recommend", {"ratings": {"k" * 10**6: 1}}, 400),
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
    assert len(answer["error"]) < 400
    assert ask(server, "GET", "/health")[0] == 200


def test_other_hosts_and_other_protocols_are_refused(server: ModelServer) -> None:
    assert ask(server, "GET", "/health", Host="evil.example")[0] == 403
    for given in (b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(server.server_address[:2], timeout=20) as client:  # type: ignore[arg-type]
            client.sendall(given)
            assert b"Traceback" not in client.recv(4096)
    assert ask(server, "GET", "/health")[0] == 200


def answers(server: ModelServer, sent: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], timeout=20) as client:  # type: ignore[arg-type]
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize(
    "lengths", ["Content-Length: 60", "Content-Length: 0\r\nContent-Length: 60", "Transfer-Encoding: chunked"]
)
@pytest.mark.parametrize("method", ["GET /health", "POST /recommend"])
def test_no_part_of_a_body_is_the_next_request(server: ModelServer, method: str, lengths: str) -> None:
    host = "HTTP/1.1\r\nHost: localhost\r\n"
    found = answers(server, f"{method} {host}{lengths}\r\n\r\nGET /metrics {host}\r\n".encode())
    assert found.count(b"HTTP/1.1 ") == 1
    assert b"requests_total" not in found


def test_a_client_that_waits_for_a_word_is_told_to_go_on(server: ModelServer) -> None:
    head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 22\r\n\r\n"
    with socket.create_connection(server.server_address[:2], timeout=20) as client:  # type: ignore[arg-type]
        client.sendall(head.encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b'{"ratings": {"104":1}}')
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


def drip(client: socket.socket) -> None:
    for _ in range(200):
        client.sendall(b"1")
        with suppress(TimeoutError):
            assert client.recv(4096) == b""


def test_many_connect_at_once(server: ModelServer) -> None:
    with ModelServer(("127.0.0.1", 0), server.model) as waiting, ExitStack() as clients:
        for _ in range(100):  # none is accepted
            clients.enter_context(socket.create_connection(waiting.server_address[:2], timeout=0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sent", [b"", b"GET /he", b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_client_that_sends_a_byte_now_and_then_is_let_go(
    server: ModelServer, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coded_als.cli.serve.REQUEST_S", 0.3)
    with socket.create_connection(server.server_address[:2], timeout=0.05) as client:  # type: ignore[arg-type]
        client.sendall(sent)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(client)
    assert ask(server, "GET", "/health")[0] == 200
    until = time.monotonic() + 20
    while server.since and time.monotonic() < until:
        time.sleep(0.01)
    assert not server.since


def test_a_server_is_ready_for_new_users_before_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ImplicitALS(2).fit(sparse.csr_array(np.eye(4))).save(tmp_path / "model.npz")
    folded: list[Any] = []
    monkeypatch.setattr(ImplicitALS, "recommend_new", lambda *given: folded.append(given))
    monkeypatch.setattr(ModelServer, "serve_forever", lambda server: None)
    assert CliRunner().invoke(main, ["serve", str(tmp_path / "model.npz"), "--port", "0"]).exit_code == 0
    assert len(folded) == 1


def test_several_requests_share_a_connection(server: ModelServer) -> None:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)  # type: ignore[arg-type]
    for _ in range(5):
        connection.request("GET", "/recommend?user=u1")
        assert connection.getresponse().read()
    connection.close()
