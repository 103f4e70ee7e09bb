"""The plugin in each Dask worker that starts, watches and ends our worker processes there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq
from distributed import Client
from distributed.diagnostics.plugin import WorkerPlugin
from tornado.ioloop import PeriodicCallback

from coded_als.worker.blas_threads import ONE_BLAS_THREAD
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import MASTER_GONE, Restarts, enlisting
from coded_als.worker.parts import PartFolder

log = logging.getLogger(__name__)

# How often it is seen whether the process of the workers is there, and how long it may take when it is asked to end.
LOOK_AFTER_PROCESS_S, END_WITHIN_S = 0.25, 1.0
# How long a Dask worker that has just come may take to set the plugin up.
SET_UP_WITHIN_S = 10.0


class CodedWorkers(WorkerPlugin):
    """Worker processes beside one Dask worker: they end with it, however it ends.

    ``endpoint``: where the master listens; ``credentials``: proof that admits them; it travels over Dask's own
    connections. Where all is encrypted each worker has a key pair of its own besides, made here, of which only the
    public half leaves the machine; ``name``: of the plugin, secret, and the name of the folder of the workers' files
    too; ``memory``: where the memory is that the master shares with workers of its machine, if any.
    """

    def __init__(self, endpoint: str, credentials: Credentials, name: str, memory: str = "") -> None:
        self._endpoint, self._credentials, self._name, self._memory = endpoint, credentials, name, memory
        self.parts: PartFolder
        self._over: list[range] = []
        self._keys: dict[int, tuple[bytes, bytes]] = {}
        self._numbers: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = Restarts()
        self._watch: PeriodicCallback | None = None
        self._dask_worker: Any = None

    def setup(self, worker: Any) -> None:
        """Begin to watch the process that `start` starts."""
        self.parts = PartFolder(private_folder(worker.local_directory, self._name))
        self._dask_worker = worker
        self._watch = PeriodicCallback(self._look_after_process, LOOK_AFTER_PROCESS_S * 1000)
        self._watch.start()

    def public_keys(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """The keys (Z85) by which the master knows workers that are going to be started here."""
        return {number: self._keys.setdefault(number, zmq.curve_keypair())[0] for number in numbers}

    def start(self, numbers: Iterable[int]) -> None:
        """Start workers that do not run yet."""
        new = [number for number in numbers if number not in self._numbers]
        self._numbers += new
        if self._process is None:
            self._restarts.started(time.monotonic())
            self._process = self._started()
            new = self._numbers
        self._enlist(new)

    def retire(self, numbers: range) -> None:
        """Delete parts that are no longer used; a part that is still being written is deleted by its writer."""
        self._over.append(numbers)
        self.delete(numbers)

    def delete(self, numbers: range) -> None:
        """Delete parts."""
        for number in numbers:
            self.parts.remove(number)

    def is_over(self, number: int) -> bool:
        """Whether a part is of no use any more."""
        return any(number in numbers for numbers in self._over)

    def teardown(self, worker: Any) -> None:
        """End all of them."""
        if self._watch is not None:
            self._watch.stop()
        process, self._process = self._process, None
        if process is None:
            return
        _close_stdin(process)
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:  # stopped, for one
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        """The process that forks the workers, after it has imported their modules once."""
        options = ("--enlist", "--endpoint", self._endpoint, "--parts", self.parts.path, "--memory", self._memory)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "coded_als.worker", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **ONE_BLAS_THREAD},
            start_new_session=True,
        )

    def _enlist(self, numbers: Iterable[int]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # stdin stays open: its end tells the process that this one is gone
        with contextlib.suppress(BrokenPipeError):
            for number in numbers:
                self._process.stdin.write(enlisting(number, self._credentials_of(number)))
            self._process.stdin.flush()

    def _credentials_of(self, number: int) -> Credentials:
        _, secret = self._keys.get(number, (b"", b""))
        return replace(self._credentials, secret_key=secret)

    @property
    def has_workers(self) -> bool:
        """Whether the process runs that forks the workers, or is to be started again."""
        return bool(self._numbers)

    async def _look_after_process(self) -> None:
        """Start it again when a signal ended it; it ends by itself when its workers were told to, or found no master."""
        if self._restarts.due_in(time.monotonic()) <= 0:
            self.start(())
        status = None if self._process is None else self._process.poll()
        if self._process is None or status is None:
            return
        _close_stdin(self._process)
        self._process = None
        if status < 0:
            log.warning("the process of workers %s was ended by signal %d and is started again", self._numbers, -status)
            self._restarts.died(time.monotonic())
        else:
            self._numbers.clear()
        if status == MASTER_GONE:
            await self._leave()

    async def _leave(self) -> None:
        """Take the plugin off the Dask cluster, unless other workers of it have a master still."""
        address, security = self._dask_worker.scheduler.address, self._dask_worker.security
        with contextlib.suppress(Exception):  # the scheduler is gone, or another one was faster
            async with Client(address, security=security, asynchronous=True, set_as_default=False) as client:
                answers = await client.run(has_workers, self._name, on_error="ignore")
                if not any(answers.values()):
                    log.warning("the master of %s is gone; its plugin leaves the Dask cluster", self._name)
                    await client.run(remove_parts, self._name, on_error="ignore")
                    await client.unregister_worker_plugin(self._name)


async def start_workers(name: str, numbers: tuple[int, ...], dask_worker: Any) -> None:
    """Start workers on the Dask worker that this runs on, as soon as its plugin is there."""
    (await plugin_of(name, dask_worker)).start(numbers)


async def public_keys(name: str, numbers: tuple[int, ...], dask_worker: Any) -> dict[int, bytes]:
    """The keys of workers that are going to be started on the Dask worker that this runs on."""
    return (await plugin_of(name, dask_worker)).public_keys(numbers)


async def parts_folder(name: str, dask_worker: Any) -> str:
    """Where the Dask worker that this runs on has the folder of parts."""
    return (await plugin_of(name, dask_worker)).parts.path


async def has_workers(name: str, dask_worker: Any) -> bool:
    """Whether there are workers of ours, or are to be, beside the Dask worker that this runs on."""
    plugin = dask_worker.plugins.get(name)
    return plugin is not None and plugin.has_workers


async def remove_parts(name: str, dask_worker: Any) -> None:
    """Delete our files on the machine of the Dask worker that this runs on."""
    shutil.rmtree(_place_of(dask_worker.local_directory, name), ignore_errors=True)


def private_folder(local_directory: str, name: str) -> str:
    """A folder that this user alone can enter, beside Dask's own, which a restart of the Dask worker empties."""
    folder = _place_of(local_directory, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user alone")
    return str(folder)


def _place_of(local_directory: str, name: str) -> Path:
    above = Path(local_directory).parent
    return (above.parent if above.name == "dask-scratch-space" else Path(tempfile.gettempdir())) / name


async def plugin_of(name: str, dask_worker: Any) -> CodedWorkers:
    """The plugin of the Dask worker that this runs on, as soon as it is set up."""
    deadline = time.monotonic() + SET_UP_WITHIN_S
    while (plugin := dask_worker.plugins.get(name)) is None and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    if plugin is None:
        raise RuntimeError(f"plugin {name} must be set up within {SET_UP_WITHIN_S} s; it is not there")
    found: CodedWorkers = plugin
    return found


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
