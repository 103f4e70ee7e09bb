"""The straggler models: frozen dataclasses that turn uniform numbers into seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array

Uniforms = Callable[[int], Array]


class DelayModel(Protocol):
    """A straggler model; every implementation is a frozen dataclass."""

    def draw(
        self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None
    ) -> tuple[Array, Array | None]:
        """Delays of one round.

        Parameters
        ----------
        uniforms
            ``uniforms(k)`` gives the k-th independent uniform number in (0, 1) of each worker, shape (W,);
            negative k gives numbers that stay the same from round to round.
        round_index
            0, 1, 2, ...
        operations
            Multiplications of the round.
        state
            What this method returned for the previous round, None in the first.

        Returns
        -------
        (W,) seconds, infinite for a worker that never responds, and the state.
        """
        ...


@dataclass(frozen=True)
class NoDelay:
    """Every worker is as fast as its machine."""

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.zeros_like(uniforms(0)), None


@dataclass(frozen=True)
class ShiftedExponential:
    """A constant and an exponential tail."""

    mean: float
    shift: float = 0.0

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.shift - self.mean * np.log(uniforms(0)), None


@dataclass(frozen=True)
class Uniform:
    """Uniform between two bounds."""

    low: float
    high: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.low + (self.high - self.low) * uniforms(0), None


@dataclass(frozen=True)
class Pareto:
    """Heavy tail: at least ``scale``, with P(delay > t) = (scale / t)^alpha."""

    scale: float
    alpha: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.scale * uniforms(0) ** (-1.0 / self.alpha), None


@dataclass(frozen=True)
class NormalPerOperation:
    """The paper's model: N(ops mu, ops sigma^2), mu and sigma in seconds per multiplication (Appendix A)."""

    mu: float
    sigma: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        # scipy is imported where it is used: workers import this package and have no need of it
        from scipy.special import ndtri

        seconds = operations * self.mu + math.sqrt(operations) * self.sigma * ndtri(uniforms(0))
        return np.maximum(seconds, 0.0), None


@dataclass(frozen=True)
class Bimodal:
    """Each worker is slow in a round with probability ``p``."""

    p: float
    fast: float
    slow: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(uniforms(0) < self.p, self.slow, self.fast), None

    @property
    def slow_share(self) -> float:
        """The chance of a long delay: a number below it makes one."""
        return self.p


@dataclass(frozen=True)
class Markov:
    """Bursts: a fast worker turns slow with probability ``enter`` a round, a slow one recovers with ``leave``."""

    fast: float
    slow: float
    enter: float
    leave: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        u = uniforms(0)
        slow = u < self.slow_share if state is None else np.where(state > 0, u >= self.leave, u < self.enter)
        return np.where(slow, self.slow, self.fast), slow.astype(np.float64)

    @property
    def slow_share(self) -> float:
        """The chance of being slow in the long run, and in the first round: a number below it makes a worker so."""
        return self.enter / (self.enter + self.leave)


@dataclass(frozen=True)
class Slow:
    """``n`` workers, always the same ones, are late by ``delay``."""

    n: int
    delay: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-1), self.n), self.delay, 0.0), None


@dataclass(frozen=True)
class Dead:
    """``n`` workers, always the same ones, never respond."""

    n: int

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded seconds, ``(rounds, workers)``; both axes start over where they end.

    Parameters
    ----------
    seconds
        (rounds, workers); infinite for a worker that is dead.
    unseen
        The share of tasks that took longer than any that was finished, so that of these too little is known.
    """

    seconds: Array
    unseen: float = 0.0

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        rounds, workers = self.seconds.shape
        return self.seconds[round_index % rounds, np.arange(uniforms(0).size) % workers], None


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Rounds of a recording, ``(rounds, workers)``, each drawn at random with replacement; workers start over."""

    seconds: Array

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        rounds, workers = self.seconds.shape
        numbers = uniforms(0)
        # one number for all workers: who is slow together in the recording stays so
        return self.seconds[int(numbers[0] * rounds), np.arange(numbers.size) % workers], None


@dataclass(frozen=True)
class Sum:
    """The delays of several models added up."""

    models: tuple[DelayModel, ...]

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        drawn, states = [], []
        for index, model in enumerate(self.models):
            own = None if state is None else state[index]

            # each summand has numbers of its own; the lasting choices (k < 0) are shared on purpose
            def own_uniforms(k: int, offset: int = self.offset(index)) -> Array:
                return uniforms(k + offset if k >= 0 else k)

            delays, new = model.draw(own_uniforms, round_index, operations, own)
            drawn.append(delays)
            states.append(np.zeros_like(delays) if new is None else new)
        return np.sum(drawn, axis=0), np.array(states)

    def offset(self, index: int) -> int:
        """What is added to the number k of a summand's uniforms.

        Parameters
        ----------
        index
            Which summand.
        """
        return 16 * index


_STATIONARY = (
    *(NoDelay, ShiftedExponential, Uniform, Pareto, NormalPerOperation, Bimodal, Markov, Slow, Dead, Trace, Bootstrap),
)


def bootstrapped(model: DelayModel) -> DelayModel:
    """The model with the rounds of its traces in random order, drawn with replacement."""
    if isinstance(model, Trace):
        return Bootstrap(model.seconds)
    return Sum(tuple(map(bootstrapped, model.models))) if isinstance(model, Sum) else model


def traces_of(model: DelayModel) -> list[Trace]:
    """The recordings among the delays that a model adds up."""
    if isinstance(model, Sum):
        return [trace for part in model.models for trace in traces_of(part)]
    return [model] if isinstance(model, Trace) else []


def depends_on_operations(model: DelayModel) -> bool:
    """Whether a worker's delay may depend on its multiplications; of a model from elsewhere it is not known."""
    if isinstance(model, Sum):
        return any(map(depends_on_operations, model.models))
    return isinstance(model, NormalPerOperation) or not is_stationary(model)


def is_stationary(model: DelayModel) -> bool:
    """Whether the delays of every round have the law of those of the first; of a model from elsewhere it is not known.

    A recording goes through its rounds: each is as likely as any other.
    """
    if isinstance(model, Sum):
        return all(map(is_stationary, model.models))
    return type(model) in _STATIONARY


def _chosen(uniforms: Array, n: int) -> NDArray[np.bool_]:
    """Mark the n workers with the smallest numbers."""
    marks = np.zeros(uniforms.size, dtype=np.bool_)
    marks[np.argsort(uniforms, kind="stable")[:n]] = True
    return marks
