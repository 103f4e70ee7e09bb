"""A view as one page on loopback: the page itself, and its changes as server-sent events."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

from coded_als.errors import UsageError
from coded_als.experiments.live.view import LiveStatus

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


class _Reader(BaseHTTPRequestHandler):
    """Serves the page and the events."""

    # a reader that neither asks nor takes anything is let go
    timeout = 2.0
    server: _Server

    def do_GET(self) -> None:
        # reject foreign Host headers (DNS rebinding)
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(403)
        elif self.path == "/":
            self._send("text/html; charset=utf-8", _page())
        elif self.path == "/events":
            self._send_events()
        else:
            self.send_error(404)

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
def on_loopback(status: LiveStatus, port: int) -> Iterator[str]:
    """Serve a status while the block runs.

    Yields
    ------
    str
        The address of the page. Readers are told how it ended before this returns.

    Raises
    ------
    UsageError
        When the port cannot be had.
    """
    try:
        server = _Server((HOST, port), _Reader)
    except OSError as error:
        raise UsageError(
            f"--serve needs a free port; got {port}: {error.strerror}. Choose another, or 0 for any that is free."
        ) from None
    server.status, server.ended = status, threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/"
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        # waits for the readers' threads, which `ended` lets stop
        server.server_close()
