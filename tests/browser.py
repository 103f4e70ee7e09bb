"""A headless Chromium, driven through a pipe by its DevTools protocol: no driver and no port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# nothing that a browser asks of the world by itself
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
# the browser reads commands from descriptor 3 and responses to descriptor 4
START = "import os, sys; [os.dup2(int(fd), n) for n, fd in ((3, sys.argv[1]), (4, sys.argv[2]))]; os.execv(sys.argv[3], sys.argv[3:])"
TIMEOUT_S = 60.0


class Page:
    """One page: what it logged is in `problems`, errors of scripts and failed loads among them."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._ids, self._buffer = read, write, 0, b""
        self._session: str | None = None
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        self._ids += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._write,
            json.dumps({"id": self._ids, "method": method, "params": parameters, **session}).encode() + b"\0",
        )
        while True:
            message = self._next()
            if message.get("id") == self._ids:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._read, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(message["params"]["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if message["params"]["type"] in ("error", "warning"):
                self.problems.append(str(message["params"]["args"]))
            case "Log.entryAdded" if message["params"]["entry"]["level"] in ("error", "warning"):
                self.problems.append(message["params"]["entry"]["text"])
        return message

    def open(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a page at a width in pixels, in a light or a dark theme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save a picture of the page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page in a browser of its own, with an empty profile."""
    assert PROGRAM
    commands, sent = os.pipe()
    received, responses = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(commands), str(responses), PROGRAM, *QUIET, f"--user-data-dir={profile}"],
            pass_fds=(commands, responses),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(responses)
        try:
            yield Page(received, sent)
        finally:
            os.close(sent)
            os.close(received)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
