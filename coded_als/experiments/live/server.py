"""A view as one page: the page itself, its changes as server-sent events, and figures for monitoring.

Off loopback every request but that for ``/healthz`` needs the token, as ``Authorization: Bearer TOKEN`` or ``?token=TOKEN``.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import parse_qs

from coded_als.errors import UsageError
from coded_als.experiments.live.monitoring import CONTENT_TYPE, as_json, metrics_text
from coded_als.experiments.live.view import LiveStatus
from coded_als.worker.addresses import is_on_this_machine

HOST = "127.0.0.1"
# between two looks of one reader
EVERY_S = 0.2
# a page that asks nothing of anybody but this server
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class _Server(ThreadingHTTPServer):
    """One thread for each reader; all of them end with the server."""

    daemon_threads = False
    status: LiveStatus
    ended: threading.Event
    token: str


class _Reader(BaseHTTPRequestHandler):
    """Serves the page and the events."""

    # a reader that neither asks nor takes anything is let go
    timeout = 2.0
    server: _Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/healthz":
            self._send("text/plain", b"ok\n")
        elif not self._is_allowed(query):
            self.send_error(403)
        elif path == "/":
            self._send("text/html; charset=utf-8", _page())
        elif path == "/events":
            self._send_events()
        elif path == "/status":
            document = asdict(self.server.status.view()) | {"figures": as_json(self.server.status.figures())}
            self._send("application/json", json.dumps(document).encode())
        elif path == "/metrics":
            self._send(CONTENT_TYPE, metrics_text(self.server.status.figures()).encode())
        else:
            self.send_error(404)

    def _is_allowed(self, query: str) -> bool:
        """Whether the token is right, if there is one; without one, foreign Host headers are refused (DNS rebinding)."""
        token = self.server.token
        if not token:
            return self.headers.get("Host", "").rpartition(":")[0] in (HOST, "localhost", "[::1]")
        given = [self.headers.get("Authorization", "").removeprefix("Bearer "), *parse_qs(query).get("token", [])]
        return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)

    def _send(self, content_type: str, body: bytes | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)

    def _send_events(self) -> None:
        self._send("text/event-stream", None)
        sent = b""
        try:
            while True:
                # check for the end first, so that the last view sent is the final one
                ended = self.server.ended.wait(EVERY_S if sent else 0)
                data = json.dumps(asdict(self.server.status.view())).encode()
                if data != sent:
                    self.wfile.write(b"data: " + data + b"\n\n")
                    sent = data
                if ended:
                    self.wfile.write(b"event: end\ndata: 0\n\n")
                    return
        except OSError:
            return  # the reader has gone

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: stderr belongs to the command."""


def _page() -> bytes:
    return files("coded_als.experiments.live").joinpath("live.html").read_bytes()


@contextmanager
def served(status: LiveStatus, host: str = HOST, port: int = 0, token: str = "") -> Iterator[str]:
    """Serve a status while the block runs.

    Parameters
    ----------
    status
        The status.
    host, port
        Where to listen; port 0 takes any that is free.
    token
        Secret that readers must give. Required where others than this machine can connect.

    Yields
    ------
    str
        The address of the page. Readers are told how it ended before this returns.

    Raises
    ------
    UsageError
        When the address cannot be had, or is open to others without a token.
    """
    if not token and not is_on_this_machine(f"tcp://{host}:{port}"):
        raise UsageError(
            f"--serve must come with a token where others than this machine can connect; got {host}:{port} without. Add "
            "--serve-token FILE, or leave the host out."
        )
    try:
        server = _Server((host, port), _Reader)
    except OSError as error:
        raise UsageError(
            f"--serve needs a free port; got {port}: {error.strerror}. Choose another, or 0 for any that is free."
        ) from None
    server.token = token
    server.status, server.ended = status, threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/"
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        # waits for the readers' threads, which `ended` lets stop
        server.server_close()
