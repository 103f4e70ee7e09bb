"""The error of a round that has taken too long: who has responded, who is at work, and of whom nothing is heard."""

from __future__ import annotations

from collections.abc import Iterable

from coded_als.errors import RoundTimeout
from coded_als.master.membership import ASK_AFTER_S, SILENT_AFTER_S
from coded_als.master.running import RunningRound
from coded_als.master.workers import WorkerState


def timed_out(current: RunningRound, alive: Iterable[WorkerState], timeout_s: float, now: float) -> RoundTimeout:
    """What to raise when a round has taken its time.

    Parameters
    ----------
    current
        The round.
    alive
        The workers that can be sent to.
    timeout_s
        How long it has been allowed.
    now
        On the clock of `WorkerState.heard_s`.
    """
    since_s = {worker.id: now - worker.heard_s for worker in alive if not current.is_over(worker.id)}
    # asked often enough, whoever is at work has said so during the round
    most_s = min(timeout_s, ASK_AFTER_S + SILENT_AFTER_S)
    silent_s = {worker: seconds for worker, seconds in since_s.items() if seconds >= most_s}
    at_work = sorted(since_s.keys() - silent_s.keys())
    responded = sorted(current.results)
    return RoundTimeout(current.round.label, timeout_s, current.until.needed, responded, silent_s, at_work)
