"""The master's side of the local fleet: the start and the end of the process that forks the workers."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile

from coded_als.wire import SharedMemory
from coded_als.worker.blas_threads import ONE_BLAS_THREAD
from coded_als.worker.credentials import Credentials

log = logging.getLogger(__name__)

# The fleet ends its workers and itself within milliseconds; past this it is made to.
END_WITHIN_S = 1.0


class Fleet:
    """W workers on this machine.

    Parameters
    ----------
    workers
        How many.
    endpoint
        Where the master listens.
    credentials
        What admits them.
    restart
        Whether one that died is started again.
    memory
        What they share with this process, if any.
    """

    def __init__(
        self,
        workers: int,
        endpoint: str,
        credentials: Credentials,
        restart: bool = False,
        memory: SharedMemory | None = None,
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        command = [sys.executable, "-P", "-m", "coded_als.worker", "--fleet", str(workers), "--endpoint", endpoint]
        self._process = subprocess.Popen(
            command + ["--restart"] * restart + ([] if memory is None else ["--memory", memory.place]),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the master, and one signal reaches all workers
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: whoever waits for the workers will say so
            self._process.stdin.write(credentials.text().encode())
            self._process.stdin.flush()

    @property
    def process_id(self) -> int:
        """Of the process whose children the workers are."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the fleet is gone."""
        return self._process.poll() is not None

    def said(self) -> str:
        """What the fleet and its workers wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def end(self) -> None:
        """End the workers at once, whatever they are doing."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if said := self.said():
            log.warning("the workers wrote: %s", said)
        self._errors.close()


def _environment() -> dict[str, str]:
    """The environment of this process, with its own module search path and one BLAS thread."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, **ONE_BLAS_THREAD, "PYTHONPATH": path}
