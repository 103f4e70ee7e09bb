"""The history of a coded fit: a record of each iteration, and the decision to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from coded_als.als.convergence import Outcome, Stopping
from coded_als.als.products import RoundLog, RoundRecord
from coded_als.als.ritz import RitzPairs
from coded_als.arrays import Array
from coded_als.models.checkpoint import Snapshot, record_of
from coded_als.models.training import FitRecorder, Iteration, Taken

# marks the solver's arrays among those of a snapshot
SOLVER = "solver."


@dataclass(frozen=True)
class CodedIteration(Iteration):
    """One iteration of coded ALS; seconds are those of the cluster's clock.

    Parameters
    ----------
    index
        Number of the iteration, from 1.
    objective
        Exact objective of the factor that the iteration started from, with the best other factor.
    seconds
        Seconds of the cluster's clock that the iteration took.
    remaining
        Possible further decrease of the objective, relative to the optimum: a bound where the outcome is
        ``"converged"``, before that an estimate of it; infinite while unknown.
    responses
        Responses used in each of its rounds.
    error_estimate
        The largest estimated decoding error of its rounds, relative to the norms of the two matrices multiplied.
    outcome
        ``"running"``; in the last iteration ``"converged"``, ``"undecided"`` where rounding hides whether the
        tolerance is reached, or ``"unfinished"`` where ``iterations`` ended the fit.
    left_out
        Workers with responses to its rounds that did not count because they were wrong, or not finite.
    pieces
        Pieces of each share in each of its rounds; 1 for whole shares.
    partial
        Number of responses used in each of its rounds that came from workers with only some of their pieces done.
    rounds_s
        Seconds of its rounds, from sending to the last response that counts.
    products_s
        Seconds of these in which the slowest worker that counts computed; the master waited for the others.
    encoding_s
        Seconds that the master encoded.
    decoding_s
        Seconds that the master decoded. The rest of ``seconds`` is its algebra.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS
    >>> model = CodedALS(rank=2).fit(np.random.default_rng(0).standard_normal((30, 20)))
    >>> last = model.history_[-1]
    >>> last.index == len(model.history_), last.outcome
    (True, 'converged')
    """

    remaining: float
    responses: tuple[int, ...]
    error_estimate: float
    outcome: Outcome = "running"
    left_out: tuple[int, ...] = ()
    pieces: tuple[int, ...] = ()
    partial: tuple[int, ...] = ()
    rounds_s: float = 0.0
    products_s: float = 0.0
    encoding_s: float = 0.0
    decoding_s: float = 0.0


@dataclass(frozen=True)
class _Running:
    """The iteration that was running when a snapshot was written: the rounds before it, and its seconds so far."""

    rounds: int
    seconds: float


class Recorder:
    """Turns the rounds of each iteration into one `CodedIteration` and asks whether to stop.

    ``fit``: records the iterations and keeps the state; ``log``: the rounds; ``stopping``: judges the Ritz pairs of
    each iteration; ``unit``: the divisor of the matrix: objectives are reported in its square; ``publish``: gives the
    model the factors of Ritz pairs, for callbacks that take the model.
    """

    def __init__(
        self,
        fit: FitRecorder,
        log: RoundLog,
        stopping: Stopping,
        unit: float,
        publish: Callable[[RitzPairs], None] | None = None,
    ) -> None:
        self._fit, self._log, self._stopping, self._unit, self._publish = fit, log, stopping, unit, publish
        self._resumed = dict[str, Array]()
        self._charged = dict(log.charged)
        self._rounds_before = len(log.records)
        fit.start()
        fit.go_on(self._go_on)

    @property
    def history(self) -> list[CodedIteration]:
        """The iterations so far."""
        return self._fit.entries

    @property
    def error_estimate(self) -> float:
        """The largest estimated error of the rounds of the running iteration."""
        return max((record.error_estimate for record in self._log.records[self._rounds_before :]), default=0.0)

    def renews(self) -> bool:
        """Whether images that were added up over many rounds had better be computed anew, as `Stopping.renews` has it."""
        return self._stopping.renews()

    def is_far(self, before: RitzPairs, coupling: float) -> bool:
        """Whether the running iteration will hardly be the last, as `Stopping.is_far` has it."""
        return self._stopping.is_far(self._last_objectives, before, coupling)

    @property
    def _last_objectives(self) -> list[float]:
        """The objectives of the last two iterations, or of fewer, in the unit of the solver."""
        return [entry.objective / self._unit**2 for entry in self.history[-2:]]

    def begins_with(self, columns: int) -> None:
        """A random start of so many columns is all that the solver has of the space, as `Stopping.block` has it."""
        self._stopping.block = columns

    def missed(self) -> Array | None:
        """Directions of larger eigenvalues than those found, (l, k), which the block of the iteration cannot have met."""
        return self._stopping.missed

    def keep(self, **solver: Any) -> None:
        """Offer the state before an iteration to the checkpoint."""
        if not self._fit.is_kept:
            return
        arrays, stopping = self._stopping.state()
        arrays |= {SOLVER + name: array for name, array in solver.items() if array is not None}
        rounds, running = tuple(self._log.records), asdict(_Running(self._rounds_before, self._fit.seconds))

        def state() -> tuple[dict[str, Any], dict[str, Any]]:
            return arrays, {"rounds": list(map(asdict, rounds)), "running": running, "stopping": stopping}

        self._fit.keep(state)

    def _go_on(self, snapshot: Snapshot) -> None:
        facts, arrays = snapshot.facts, dict(snapshot.arrays)
        rounds = [record_of(RoundRecord, entry) for entry in facts["rounds"]]
        running = record_of(_Running, facts["running"])
        if not 0 <= running.rounds <= len(rounds):
            raise ValueError(f"it is at round {running.rounds} of {len(rounds)}")
        solver = {name: arrays.pop(name) for name in snapshot.arrays if name.startswith(SOLVER)}
        self._stopping.go_on(arrays, facts["stopping"])
        # the rounds that gave the data out again come first
        self._rounds_before = len(self._log.records) + running.rounds
        self._log.records += rounds
        self._fit.start(running.seconds)
        self._resumed = {name.removeprefix(SOLVER): array for name, array in solver.items()}

    def resumed(self, take: Callable[[Mapping[str, Array]], Taken]) -> Taken | None:
        """The solver's state that ``take`` reads from the arrays of a snapshot; None without one.

        Raises UsageError where it does.
        """
        return self._fit.go_on(lambda snapshot: take(self._resumed))

    def finish(
        self,
        pairs: RitzPairs,
        value: float | None = None,
        *,
        early: bool = False,
        exhausted: bool = False,
        complete: bool = False,
    ) -> bool:
        """Close the running iteration, and tell whether to stop.

        ``value``: its objective, where that is not the one of the pairs alone; ``early``: whether the Ritz values are enough,
        as the end is far; ``exhausted``: whether no iteration can find another subspace; ``complete``: nor one that is given
        directions that it has not met.
        """
        rounds = self._log.records[self._rounds_before :]
        worst = max((record.error_estimate for record in self._log.records), default=0.0)
        before = self._last_objectives[-1] if early else None
        verdict = self._stopping.judge(pairs, worst, before=before, exhausted=exhausted, complete=complete)
        error = self.error_estimate
        self._fit.close(
            (verdict.objective if value is None or verdict.cancelled else value) * self._unit**2,
            None if self._publish is None else partial(self._publish, pairs),
            remaining=verdict.remaining,
            responses=tuple(record.responses for record in rounds),
            error_estimate=error,
            outcome=verdict.outcome,
            left_out=tuple(worker for record in rounds for worker in record.left_out),
            pieces=tuple(record.pieces for record in rounds),
            partial=tuple(record.partial for record in rounds),
            rounds_s=sum(record.elapsed_s for record in rounds),
            products_s=sum(record.products_s for record in rounds),
            **self._charged_since(),
        )
        # products for the model of a callback belong to no iteration
        self._rounds_before = len(self._log.records)
        self._charged_since()
        return verdict.outcome != "running" or self._fit.ended

    def _charged_since(self) -> dict[str, float]:
        """Seconds of encoding and decoding since this was asked last."""
        before, self._charged = self._charged, dict(self._log.charged)
        return {f"{kind}_s": seconds - before[kind] for kind, seconds in self._charged.items()}

    def conclude(self, objective: float, moved: float) -> Outcome:
        """The outcome of the fit as `Stopping.conclude` has it, also kept in the history."""
        outcome = self._stopping.conclude(objective, moved)
        self.history[-1] = replace(self.history[-1], outcome=outcome)
        return outcome
