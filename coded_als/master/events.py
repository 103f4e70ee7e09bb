"""Events on their way to the observers: the master calls these between two steps and never within one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from coded_als.cluster.seam import Observer, Status, TaskEvent
from coded_als.master.membership import Assignment, WorkerState
from coded_als.wire import Answer, Reply, Response


@dataclass(frozen=True)
class WorkerEvent:
    """Change of a worker: it joined, for the first time or again; its connection broke; it fell silent or was heard again."""

    worker: int
    status: Literal["joined", "lost", "silent", "heard"]
    at_s: float


WorkerObserver = Callable[[WorkerEvent], None]


class Events:
    """Events that the observers have not been told yet: one that raises finds a cluster that is in order.

    ``observers``: callables for the events of tasks; the list may change at any time; ``worker_observers``: callables
    for the events of workers; ``seconds``: the cluster's clock.
    """

    def __init__(
        self, observers: list[Observer], worker_observers: list[WorkerObserver], seconds: Callable[[], float]
    ) -> None:
        self.seconds, self._observers, self._worker_observers = seconds, observers, worker_observers
        self._untold: deque[TaskEvent] = deque()
        self._untold_workers: deque[WorkerEvent] = deque()

    def note(self, worker: WorkerState, status: Literal["joined", "lost", "silent", "heard"]) -> None:
        """Note a change of a worker's state."""
        if self._worker_observers:
            self._untold_workers.append(WorkerEvent(worker.id, status, self.seconds()))

    def record(
        self, task: Assignment, status: Status, reply: Reply | None = None, counted: tuple[int, float] | None = None
    ) -> None:
        """Note the fate of a task, with the worker's last reply, if there is one; once for each task.

        ``counted``: of a task in pieces, how many count and when the last of these was there.
        """
        if task.told or not self._observers:
            return
        received_s, waited_s, computed_s = None, 0.0, 0.0
        if reply is not None:
            received_s = self.seconds()
        pieces = None
        if counted is not None:
            pieces, received_s = counted
        if isinstance(reply, Response | Answer):
            waited_s, computed_s = reply.waited_s, reply.computed_s
        self._untold.append(
            TaskEvent(
                task.round_index, task.label, task.worker, status, task.sent_s, received_s, waited_s, computed_s, pieces
            )
        )

    def deliver(self) -> None:
        """Tell the observers."""
        while self._untold_workers:
            news = self._untold_workers.popleft()
            for tell in self._worker_observers:
                tell(news)
        while self._untold:
            event = self._untold.popleft()
            for observer in self._observers:
                observer(event)
