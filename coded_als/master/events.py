"""Events on their way to the observers, who are told between two steps and never within one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from coded_als.cluster import Observer, Status, TaskEvent
from coded_als.master.workers import Task
from coded_als.wire import Message


class Events:
    """Events that the observers have not been told yet: one that raises finds a cluster that is in order.

    Parameters
    ----------
    observers
        Who is told; may change at any time.
    seconds
        The cluster's clock.
    """

    def __init__(self, observers: list[Observer], seconds: Callable[[], float]) -> None:
        self.seconds, self._observers = seconds, observers
        self._untold: deque[TaskEvent] = deque()

    def record(self, task: Task, status: Status, message: Message | None = None) -> None:
        """Note what became of a task, with the message that tells it, if there is one."""
        if not self._observers:
            return
        received_s, waited_s, computed_s = None, 0.0, 0.0
        if message is not None:
            received_s, waited_s, computed_s = self.seconds(), message.waited_s, message.computed_s
        self._untold.append(
            TaskEvent(task.round_index, task.label, task.worker, status, task.sent_s, received_s, waited_s, computed_s)
        )

    def deliver(self) -> None:
        """Tell the observers."""
        while self._untold:
            event = self._untold.popleft()
            for observer in self._observers:
                observer(event)
