"""``coded-als serve``: recommendations of a saved model over HTTP, on loopback unless another address is given."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
from threadpoolctl import threadpool_limits

from coded_als.cli.help import CommandWithExamples
from coded_als.cli.scored_together import rank_together
from coded_als.errors import UsageError
from coded_als.experiments.live.monitoring import CONTENT_TYPE, Figure, metrics_text
from coded_als.models.factor_model import FactorModel
from coded_als.models.persistence import load_model
from coded_als.models.recommending import Ranking

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BYTES, MOST_ITEMS, MOST_USERS = 2**20, 1000, 100
# Characters of a reason, which may name a part of the request.
MOST_REASON = 300
# The server closes a connection that has been idle for so long, and one whose request is not complete after so long.
IDLE_S, REQUEST_S = 30.0, 60.0
ROUTES = {"/health": "GET", "/metrics": "GET", "/recommend": "GET POST", "/similar": "GET"}


class RefusedRequest(Exception):
    """A request that gets an error of one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ModelServer(ThreadingHTTPServer):
    """One model, read once; a request names users and items and never a file."""

    daemon_threads = True
    # connections that wait to be accepted; a client beyond these waits a second and tries again
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: FactorModel) -> None:
        self.model = model
        self.counts: Counter[int] = Counter()
        self.seconds = 0.0
        self.lock = threading.Lock()
        # when each connection was opened or answered last
        self.since: dict[socket.socket, float] = {}
        super().__init__(address, RequestHandler)

    def note(self, status: int, seconds: float) -> None:
        """Count a response."""
        with self.lock:
            self.counts[status] += 1
            self.seconds += seconds

    def metrics(self) -> str:
        """The counts in the text format of Prometheus."""
        with self.lock:
            counts, seconds = dict(self.counts), self.seconds
        by_status = {str(status): count for status, count in sorted(counts.items())}
        return metrics_text(
            (
                Figure("requests_total", "Requests by the status of the answer.", by_status, "counter", "status"),
                Figure.of("request_seconds_total", "Seconds of all requests.", seconds, "counter"),
            )
        )

    def service_actions(self) -> None:
        """Let clients go that take too long; called every half second."""
        for connection, since in list(self.since.items()):
            if time.monotonic() - since > REQUEST_S:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


class RequestHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    # head and body of an answer are sent at once
    wbufsize = -1
    server: ModelServer

    def setup(self) -> None:
        super().setup()
        self.server.since[self.connection] = time.monotonic()

    def finish(self) -> None:
        del self.server.since[self.connection]
        super().finish()

    def handle_expect_100(self) -> bool:
        goes_on = super().handle_expect_100()
        self.wfile.flush()  # or the client would wait in vain before it sends the body
        return goes_on

    def do_GET(self) -> None:
        # a body is not read, and is no next request
        self.close_connection |= "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        self._respond({})

    def do_POST(self) -> None:
        self._respond(None)

    def _respond(self, body: dict[str, Any] | None) -> None:
        started = time.perf_counter()
        try:
            parts = urlsplit(self.path)
            self._require_route(parts.path)
            given = self._body() if body is None else body
            query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=2 * MOST_USERS)
            answer = self._answer(parts.path, query, given)
            self._send(200, answer)
        except RefusedRequest as error:
            self._refuse(error.status, str(error))
        except UsageError as error:
            self._refuse(400, str(error))
        except ValueError as error:  # of a query that is none
            self._refuse(400, str(error))
        self.server.note(self._status, time.perf_counter() - started)

    def _require_route(self, path: str) -> None:
        bound = str(self.server.server_address[0])
        host = self.headers.get("Host", "").rpartition(":")[0].strip("[]") or self.headers.get("Host", "")
        if bound in LOOPBACK and host not in LOOPBACK:  # a page of another site that resolves to this machine
            raise RefusedRequest(403, "the Host header must name this machine. Use http://127.0.0.1.")
        if path not in ROUTES:
            raise RefusedRequest(404, f"the path must be one of {', '.join(ROUTES)}.")
        if self.command not in ROUTES[path].split():
            raise RefusedRequest(405, f"{path} is for {ROUTES[path]}; got {self.command}. Change the method.")

    def _body(self) -> dict[str, Any]:
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) > 1 or "Transfer-Encoding" in self.headers:
            raise RefusedRequest(400, "a body must have one Content-Length and no Transfer-Encoding.")
        length = lengths[0] if lengths else ""
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise RefusedRequest(413, f"a body must have a Content-Length of at most {MOST_BYTES} bytes. Send less.")
        try:
            given = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RefusedRequest(400, "the body must be JSON.") from None
        if not isinstance(given, dict):
            raise RefusedRequest(400, 'the body must be an object such as {"ratings": {"28": 5}}.')
        return given

    def _answer(self, path: str, query: Mapping[str, list[str]], body: Mapping[str, Any]) -> Any:
        model = self.server.model
        if path == "/health":
            return {"status": "ok", "method": model.kind, "users": len(model.user_ids), "items": len(model.item_ids)}
        if path == "/metrics":
            return self.server.metrics()
        if self.command == "POST":
            return self._of_new_user(body)
        count = _whole(query.get("n", ["10"])[0])
        name = "user" if path == "/recommend" else "item"
        wanted = query.get(name, [])
        known = {name, "n"} | ({"exclude", "cold"} if name == "user" else set())
        if not wanted or len(wanted) > MOST_USERS or set(query) - known:
            raise RefusedRequest(400, f"the query must be {name}=ID and n=10, with 1 to {MOST_USERS} ids.")
        found = []
        for one in wanted:
            if name == "item":
                found.append({"item": one, "items": _items(model.similar_items(one, count))})
                continue
            options = {"exclude": query.get("exclude", []), "cold": query.get("cold", ["refuse"])[0]}
            found.append({"user": one, "items": _items(model.recommend(one, count, **options))})  # type: ignore[arg-type]
        return found[0] if len(found) == 1 else {"lists": found}

    def _of_new_user(self, body: Mapping[str, Any]) -> Any:
        ratings = body.get("ratings")
        if not isinstance(ratings, dict) or set(body) - {"ratings", "n", "exclude", "unknown"}:
            raise RefusedRequest(400, 'the body must be {"ratings": {"28": 5}, "n": 10}.')
        numbers = all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in ratings.values())
        exclude = body.get("exclude", [])
        if not numbers or not isinstance(exclude, list) or not all(isinstance(one, (str, int)) for one in exclude):
            raise RefusedRequest(400, "ratings must be finite numbers and exclude a list of ids.")
        count, unknown = _whole(body.get("n", 10)), body.get("unknown", "refuse")
        return {"items": _items(self.server.model.recommend_new(ratings, count, exclude=exclude, unknown=unknown))}

    def _send(self, status: int, answer: Any) -> None:
        is_text = isinstance(answer, str)
        body = (answer if is_text else json.dumps(answer) + "\n").encode()
        self._status = status
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.server.since[self.connection] = time.monotonic()

    def _refuse(self, status: int, reason: str) -> None:
        # the rest of a refused request is not read as the next one
        self.close_connection = True
        self._send(status, {"error": _line(reason)})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is no HTTP, or of an unknown method, in one line."""
        self.close_connection = True
        if not hasattr(self, "headers"):
            self.request_version = "HTTP/1.1"
        self._send(code, {"error": _line(message or self.responses.get(code, ("an error",))[0])})
        self.server.note(code, 0.0)

    def version_string(self) -> str:
        """The name of this server, without versions."""
        return "coded-als"

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: counts are in /metrics."""


def _line(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= MOST_REASON else f"{line[:MOST_REASON]} ..."


def _whole(given: Any) -> int:
    text = str(given)
    if isinstance(given, bool) or not text.isdecimal() or len(text) > 6 or not 1 <= int(text) <= MOST_ITEMS:
        raise RefusedRequest(400, f"n must be a whole number from 1 to {MOST_ITEMS}.")
    return int(text)


def _items(ranking: Ranking) -> list[dict[str, Any]]:
    pairs = zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True)
    return [{"item": item, "score": score} for item, score in pairs]


@click.command(
    "serve", cls=CommandWithExamples,
    examples=(
        "coded-als serve model.npz",
        "coded-als serve model.npz --port 9000",
    ),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback see all."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
def command(model: Path, host: str, port: int) -> None:
    """Serve recommendations of a saved model over HTTP.

    GET /recommend?user=ID&n=10, POST /recommend with {"ratings": {"28": 5}} for a new user, GET /similar?item=ID, GET /health,
    and GET /metrics for Prometheus. Answers are JSON.
    """
    fitted = load_model(model)
    try:
        server = ModelServer((host, port), fitted)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Pass an address of this machine as --host, or "
            "another --port."
        ) from None
    rank_together(fitted)
    # the first list and the first new user prepare, and compile
    fitted.recommend(fitted.user_ids.item(0), 1, cold="popular" if fitted.seen_ is not None else "refuse")
    with suppress(UsageError):  # a model without new users
        fitted.recommend_new({fitted.item_ids.item(0): 1.0}, 1)
    click.echo(f"serving {model} on http://{host}:{server.server_address[1]}/ (Ctrl-C ends)", err=True)
    # lists are made in turns: threads of BLAS would take the cores of the requests that are read and written meanwhile
    with threadpool_limits(1, "blas"), server, suppress(KeyboardInterrupt):
        server.serve_forever()
