"""The worker's loop: an inbox in order, one task at a time, and the newest task wins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import zmq

from coded_als.kernels import KERNELS, Result
from coded_als.wire import Array, Kind, Message, WireError, decode, encode

# How long a worker may go without a look at whether its parent still lives.
LOOK_AFTER_PARENT_S = 1.0


class Worker:
    """Keeps arrays, waits out delays, runs kernels; drops a task as soon as a newer one arrives.

    Parameters
    ----------
    socket
        A connected DEALER.
    worker
        This worker's number.
    job
        Secret of the cluster: messages without it are ignored.
    process_id
        What the master is told.
    parent_lives
        Asked about once a second; the loop ends when it says no.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        worker: int,
        job: bytes,
        process_id: int,
        parent_lives: Callable[[], bool] = lambda: True,
    ) -> None:
        self._socket = socket
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._us = Message(Kind.HELLO, job, worker, number=process_id)
        self._parent_lives = parent_lives
        self._memory: dict[str, tuple[int, Array]] = {}
        self._task: Message | None = None
        self._stop: Message | None = None

    def serve(self) -> str:
        """Work until the master or the parent ends it; the master's reason, empty where it gave none."""
        self._send(self._us)
        while self._stop is None and self._parent_lives():
            if self._task is None:
                self._look(LOOK_AFTER_PARENT_S)
            else:
                self._carry_out(self._task)
        return "" if self._stop is None else self._stop.text

    def _carry_out(self, task: Message) -> None:
        """Wait, compute and answer, unless something newer turns up before that."""
        received = time.perf_counter()
        self._wait(task, received + task.delay_s)
        if self._task is not task:
            return
        started = time.perf_counter()
        try:
            result = self._compute(task)
        except Exception as error:  # a bug in a kernel or its operands: for the master to raise
            self._reply(task, Kind.ERROR, text=f"{type(error).__name__}: {error}")
            result = None
        if result is not None:
            computed_s = time.perf_counter() - started
            self._reply(task, Kind.RESULT, result, waited_s=started - received, computed_s=computed_s)
        if self._task is task:
            self._task = None

    def _wait(self, task: Message, until: float) -> None:
        """Let the injected delay pass with an eye on the inbox."""
        while self._task is task and (remaining_s := until - time.perf_counter()) > 0:
            if remaining_s < 1e-3:  # ZeroMQ's clock has whole milliseconds
                time.sleep(remaining_s)
            else:
                self._look(min(remaining_s, LOOK_AFTER_PARENT_S))
            if not self._parent_lives():
                self._task = None

    def _compute(self, task: Message) -> Result | None:
        """Run the kernel panel by panel; None when it was pre-empted or cannot be run."""
        stale = [name for name, version in task.operands if self._memory.get(name, (None,))[0] != version]
        if stale:
            self._reply(task, Kind.REFUSED, text=", ".join(stale))
            return None
        operands = (self._memory[name][1] for name, _ in task.operands)
        steps = KERNELS[task.kernel](*operands, *task.arrays)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            self._look(0.0)
            if self._task is not task:
                steps.close()
                return None

    def _look(self, timeout_s: float) -> None:
        """Wait for a message, then deal with all that are there, in order."""
        if timeout_s > 0:
            self._poller.poll(int(timeout_s * 1000))
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            try:
                message = decode(frames)
            except WireError as error:
                print(f"worker {self._us.worker}: ignored a message: {error}", file=sys.stderr, flush=True)
                continue
            if message.job == self._us.job:
                self._obey(message)

    def _obey(self, message: Message) -> None:
        for (name, version), array in zip(message.keep, message.arrays, strict=False):
            self._memory[name] = version, array
        match message.kind:
            case Kind.STORE:
                self._reply(message, Kind.STORED)
            case Kind.TASK:
                self._supersede(message)
            case Kind.CANCEL:
                self._supersede(None)
            case Kind.STOP:
                self._supersede(None)
                self._stop = message

    def _supersede(self, task: Message | None) -> None:
        """Take on a task, if any, in place of the one at hand; tell the master, who counts open tasks."""
        if self._task is not None:
            self._reply(self._task, Kind.SUPERSEDED)
        self._task = task

    def _reply(
        self,
        message: Message,
        kind: Kind,
        arrays: Result = (),
        *,
        waited_s: float = 0.0,
        computed_s: float = 0.0,
        text: str = "",
    ) -> None:
        self._send(
            replace(
                self._us,
                kind=kind,
                round_index=message.round_index,
                attempt=message.attempt,
                waited_s=waited_s,
                computed_s=computed_s,
                text=text[:4000],
                arrays=arrays,
            )
        )

    def _send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message), copy=False)
