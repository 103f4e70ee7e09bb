"""The history of a fit: what each iteration found, and the decision to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from coded_als.als.convergence import Outcome, Stopping
from coded_als.als.products import RoundLog, RoundRecord
from coded_als.als.ritz import RitzPairs
from coded_als.arrays import Array
from coded_als.models.checkpoint import Checkpoint, Snapshot, record_of
from coded_als.models.training import Callback, Iteration, iterations_of

# marks the solver's arrays among those of a snapshot
SOLVER = "solver."
Taken = TypeVar("Taken")


@dataclass(frozen=True)
class CodedIteration(Iteration):
    """One iteration of coded ALS; seconds are those of the cluster's clock.

    Parameters
    ----------
    index, objective, seconds
        As in `Iteration`; the exact objective of the factor that the iteration started from, with the best other factor.
    remaining
        What the objective can still lose, relative to the optimum: a bound where the outcome is ``"converged"``, before
        that an estimate of it; infinite while unknown.
    responses
        Responses used in each of its rounds.
    error_estimate
        The largest estimated decoding error of its rounds, relative to the norms of the two matrices multiplied.
    outcome
        ``"running"``; in the last iteration ``"converged"``, ``"undecided"`` where rounding hides whether the
        tolerance is reached, or ``"unfinished"`` where ``iterations`` ended the fit.
    left_out
        Workers whose responses to its rounds were found wrong, or not finite, and did not count.
    pieces
        Pieces of each share in each of its rounds; 1 for whole shares.
    partial
        Of the responses used in each of its rounds, those of workers that had done only some of their pieces.
    """

    remaining: float
    responses: tuple[int, ...]
    error_estimate: float
    outcome: Outcome = "running"
    left_out: tuple[int, ...] = ()
    pieces: tuple[int, ...] = ()
    partial: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Running:
    """The iteration that was running when a snapshot was written: the rounds before it, and its seconds so far."""

    rounds: int
    seconds: float


class Recorder:
    """Turns the rounds of each iteration into one `CodedIteration` and asks whether to stop.

    Parameters
    ----------
    log
        The rounds.
    stopping
        Judges the Ritz pairs of each iteration.
    unit
        What the matrix was divided by: objectives are told in its square, factors in its root.
    report
        Called with each `CodedIteration`.
    checkpoint
        Where the state goes, or None.
    snapshot
        What an interrupted run has left, or None.
    """

    def __init__(
        self,
        log: RoundLog,
        stopping: Stopping,
        unit: float,
        report: Callback,
        checkpoint: Checkpoint | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        self._log, self._stopping, self._unit, self._report = log, stopping, unit, report
        self._checkpoint = checkpoint
        self.history: list[CodedIteration] = []
        self.factor: Array | None = None
        self._snapshot, self._resumed = snapshot, dict[str, Array]()
        self._rounds_before, self._started = len(log.records), log.cluster.seconds()
        if snapshot is not None:
            self._go_on(snapshot)

    @property
    def error_estimate(self) -> float:
        """The largest estimated error of the rounds of the running iteration."""
        return max((record.error_estimate for record in self._log.records[self._rounds_before :]), default=0.0)

    def renews(self) -> bool:
        """Whether images that were added up over many rounds had better be computed anew, as `Stopping.renews` has it."""
        return self._stopping.renews()

    def keep(self, **solver: Array | None) -> None:
        """Offer the state before an iteration to the checkpoint."""
        if self._checkpoint is None:
            return
        arrays, stopping = self._stopping.state()
        arrays |= {SOLVER + name: array for name, array in solver.items() if array is not None}
        history, rounds = tuple(self.history), tuple(self._log.records)
        running = asdict(_Running(self._rounds_before, self._log.cluster.seconds() - self._started))

        def state() -> tuple[dict[str, Array], dict[str, Any]]:
            entries = {"history": list(map(asdict, history)), "rounds": list(map(asdict, rounds))}
            return arrays, {**entries, "running": running, "stopping": stopping}

        self._checkpoint.note(len(history), state)

    def _go_on(self, snapshot: Snapshot) -> None:
        self.history += iterations_of(snapshot, CodedIteration)
        facts, arrays = snapshot.facts, dict(snapshot.arrays)
        with snapshot.being_read():
            rounds = [record_of(RoundRecord, entry) for entry in facts["rounds"]]
            running = record_of(_Running, facts["running"])
            if not 0 <= running.rounds <= len(rounds):
                raise ValueError(f"it is at round {running.rounds} of {len(rounds)}")
            solver = {name: arrays.pop(name) for name in snapshot.arrays if name.startswith(SOLVER)}
            self._stopping.go_on(arrays, facts["stopping"])
        # the rounds that gave the data out again come first
        self._rounds_before = len(self._log.records) + running.rounds
        self._log.records += rounds
        self._started -= running.seconds
        self._resumed = {name.removeprefix(SOLVER): array for name, array in solver.items()}

    def resumed(self, take: Callable[[Mapping[str, Array]], Taken]) -> Taken | None:
        """What is made of the solver's arrays of a snapshot; None without one.

        Raises UsageError where it does.
        """
        if self._snapshot is None:
            return None
        with self._snapshot.being_read():
            return take(self._resumed)

    def finish(self, pairs: RitzPairs, factor: Array, value: float | None = None, *, exhausted: bool = False) -> bool:
        """Close the running iteration.

        ``factor``: (l, d), kept as `factor` until the next. Returns whether to stop.
        """
        now = self._log.cluster.seconds()
        rounds = self._log.records[self._rounds_before :]
        worst = max((record.error_estimate for record in self._log.records), default=0.0)
        verdict = self._stopping.judge(pairs, worst, exhausted=exhausted)
        entry = CodedIteration(
            index=len(self.history) + 1,
            objective=(verdict.objective if value is None or verdict.cancelled else value) * self._unit**2,
            remaining=verdict.remaining,
            seconds=now - self._started,
            responses=tuple(record.responses for record in rounds),
            error_estimate=self.error_estimate,
            outcome=verdict.outcome,
            left_out=tuple(worker for record in rounds for worker in record.left_out),
            pieces=tuple(record.pieces for record in rounds),
            partial=tuple(record.partial for record in rounds),
        )
        self.history.append(entry)
        self._rounds_before, self._started = len(self._log.records), now
        self.factor = factor * np.sqrt(self._unit)
        self._report(entry)
        return verdict.outcome != "running"

    def conclude(self, objective: float, moved: float) -> Outcome:
        """The outcome of the fit as `Stopping.conclude` has it, also kept in the history."""
        outcome = self._stopping.conclude(objective, moved)
        self.history[-1] = replace(self.history[-1], outcome=outcome)
        return outcome
