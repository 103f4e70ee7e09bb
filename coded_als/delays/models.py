"""The straggler models: frozen dataclasses that turn uniform numbers into seconds, or into factors of the work.

An additive model delays the start of the work. A multiplicative one slows the work itself: a worker of slowness 3 takes
three times as long for each multiplication, so by a given time it has done a third of its work, and not none of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Protocol, get_type_hints

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import is_whole
from coded_als.errors import UsageError

Uniforms = Callable[[int], Array]

UNITS_S: Mapping[str, float] = MappingProxyType({"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0})
PLAIN: Mapping[str, float] = MappingProxyType({"": 1.0})


@dataclass(frozen=True)
class Quantity:
    """The kind of a parameter: its range in Python, and its units in a SPEC."""

    rule: str  # the condition on a number in Python, for the error
    written: str  # the condition on a text in a SPEC, for the error
    units: Mapping[str, float]  # factor of each unit that a SPEC may give; ``""`` stands for no unit
    most: float = math.inf  # the largest value
    positive: bool = False  # whether 0 is refused
    whole: bool = False  # whether only whole numbers are accepted

    def accepts(self, value: Any) -> bool:
        """Whether a value has the right type and lies in the range."""
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not number or (self.whole and not is_whole(value)):
            return False
        return bool(0 < value <= self.most if self.positive else 0 <= value <= self.most)  # NaN is neither


# The largest float is the bound of a quantity that must be finite.
_FINITE = float(np.finfo(np.float64).max)
_TIME = "a time with its unit, like 20ms or 1s"
SECONDS = Quantity("finite seconds of at least 0", _TIME, UNITS_S, _FINITE)
SECONDS_OR_NEVER = Quantity("seconds of at least 0", _TIME, UNITS_S)
POSITIVE_SECONDS = Quantity("finite seconds above 0", _TIME, UNITS_S, _FINITE, positive=True)
PROBABILITY = Quantity("a probability in [0, 1]", "a probability in [0, 1]", PLAIN, 1.0)
POSITIVE = Quantity("a finite number above 0", "a number like 1.5, without a unit", PLAIN, _FINITE, positive=True)
COUNT = Quantity("a whole number of at least 0", "a whole number", PLAIN, whole=True)
# A parameter of a model from elsewhere: its class says which numbers are in range.
ANY_NUMBER = Quantity("a number", "a number like 1.5, or a time like 20ms", MappingProxyType({**UNITS_S, **PLAIN}))

Seconds = Annotated[float, SECONDS]
# Infinite: a worker that is slow in a round then does not respond to it at all.
SecondsOrNever = Annotated[float, SECONDS_OR_NEVER]
PositiveSeconds = Annotated[float, POSITIVE_SECONDS]
Probability = Annotated[float, PROBABILITY]
Positive = Annotated[float, POSITIVE]
Count = Annotated[int, COUNT]


def quantities(model: type) -> dict[str, Quantity]:
    """The kind of each parameter of a model, from the annotations of its fields."""
    try:
        hints = get_type_hints(model, include_extras=True)
    except NameError:  # a model from elsewhere may name types that it imports for a type checker alone
        hints = {}
    return {field.name: _quantity_of(hints.get(field.name)) for field in dataclasses.fields(model)}


def _quantity_of(hint: Any) -> Quantity:
    named = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Quantity)]
    return named[0] if named else COUNT if hint is int else ANY_NUMBER


class Inconsistent(UsageError):
    """Parameters that are each in range and do not go together.

    ``rule``: the condition that the parameters break; ``got``: the model, or the SPEC that names it; ``remedy``: the
    next step for the user.
    """

    def __init__(self, rule: str, got: object, remedy: str) -> None:
        super().__init__(f"{rule}; got {got!r}. {remedy}")
        self.rule, self.remedy = rule, remedy


@dataclass(frozen=True)
class _Checked:
    """A model that requires each parameter to be of the kind in the annotation of its field."""

    def __post_init__(self) -> None:
        for name, quantity in quantities(type(self)).items():
            value = getattr(self, name)
            if not quantity.accepts(value):
                raise UsageError(f"{name} must be {quantity.rule}; got {value!r}.")


class DelayModel(Protocol):
    """A straggler model; every implementation is a frozen dataclass.

    A model that also slows the work itself has a method ``factors(uniforms, round_index, state)``: how many times as long as
    usual each worker takes, (W,), finite and above 0. Its state is the one that `draw` returned for this very round.

    Examples
    --------
    >>> from coded_als.delays import DelayModel, DelayStream, parse_delays
    >>> model: DelayModel = parse_delays("exp:mean=20ms")
    >>> DelayStream(model, workers=8, seed=1).disturb(operations=1e6).delays_s.shape  # one round
    (8,)
    """

    def draw(
        self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None
    ) -> tuple[Array, Array | None]:
        """Return the delays of one round.

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
            The state that this method returned for the previous round, None in the first.

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
class ShiftedExponential(_Checked):
    """A constant and an exponential tail."""

    mean: Seconds
    shift: Seconds = 0.0

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.shift - self.mean * np.log(uniforms(0)), None


@dataclass(frozen=True)
class Uniform(_Checked):
    """Uniform between two bounds."""

    low: Seconds
    high: Seconds

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise Inconsistent("low must not be above high", self, "Swap them.")

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.low + (self.high - self.low) * uniforms(0), None


@dataclass(frozen=True)
class Pareto(_Checked):
    """Heavy tail: at least ``scale``, with P(delay > t) = (scale / t)^alpha."""

    scale: PositiveSeconds
    alpha: Positive

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.scale * uniforms(0) ** (-1.0 / self.alpha), None


@dataclass(frozen=True)
class LogNormal(_Checked):
    """A delay with a normal logarithm: as often ``median e^s`` as ``median e^-s``, s of deviation ``sigma``."""

    median: PositiveSeconds
    sigma: Positive

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return self.median * _log_normal(uniforms(0), self.sigma), None


@dataclass(frozen=True)
class QuantileLaw:
    """A law by some of its quantiles; its slowest part comes in bursts.

    Between two quantiles, and beyond the last but one, the law is exponential; no delay is longer than the last.
    """

    # the quantiles, both ascending; the first probability is 0 and no probability is 1. A probability that is given
    # twice is a gap in the law
    probabilities: tuple[float, ...]
    seconds: tuple[float, ...]
    # chance that a worker is slow after a round in which it was not, and that it is not after one in which it was. The
    # slow are the slowest part of the law, as many as there are in the long run
    enter: float = 0.5
    leave: float = 0.5

    def __post_init__(self) -> None:
        p, s = np.array(self.probabilities), np.array(self.seconds)
        if not (p.shape == s.shape and p.size >= 2 and p[0] == 0 and p[-1] < 1 and (np.diff(p) >= 0).all()):
            raise UsageError(f"probabilities must ascend from 0 to below 1; got {self.probabilities}.")
        if not (np.isfinite(s).all() and s[0] >= 0 and (np.diff(s) >= 0).all()):
            raise UsageError(f"seconds must be finite, at least 0 and ascend; got {self.seconds}.")
        _ = Markov(0.0, 0.0, self.enter, self.leave)

    def quantile_s(self, probabilities: Array) -> Array:
        """Seconds that a delay stays below with these probabilities."""
        with np.errstate(divide="ignore"):
            return np.interp(-np.log1p(-probabilities), -np.log1p(-np.array(self.probabilities)), self.seconds)

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        _, slow = Markov(0.0, 0.0, self.enter, self.leave).draw(uniforms, round_index, operations, state)
        numbers, part = uniforms(1), self.slow_share
        return self.quantile_s(np.where(slow > 0, 1 - part * numbers, (1 - part) * numbers)), slow

    @property
    def slow_share(self) -> float:
        """The chance of being slow in the long run, and in the first round: a number below it makes a worker so."""
        return self.enter / (self.enter + self.leave)


@dataclass(frozen=True)
class NormalPerOperation(_Checked):
    """The paper's model: N(ops mu, ops sigma^2), mu and sigma in seconds per multiplication (Appendix A)."""

    mu: Seconds
    sigma: Seconds

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        # scipy is imported where it is used: workers import this package and have no need of it
        from scipy.special import ndtri

        seconds = operations * self.mu + math.sqrt(operations) * self.sigma * ndtri(uniforms(0))
        # if mean and deviation are both beyond the largest float, their difference is no number: such a worker never responds
        return np.where(np.isnan(seconds), np.inf, np.maximum(seconds, 0.0)), None


@dataclass(frozen=True)
class Bimodal(_Checked):
    """Each worker is slow in a round with probability ``p``."""

    p: Probability
    fast: Seconds
    slow: SecondsOrNever

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(uniforms(0) < self.p, self.slow, self.fast), None

    @property
    def slow_share(self) -> float:
        """The chance of a long delay: a number below it makes one."""
        return self.p


@dataclass(frozen=True)
class Markov(_Checked):
    """Bursts: a fast worker turns slow with probability ``enter`` a round, a slow one recovers with ``leave``."""

    fast: Seconds
    slow: SecondsOrNever
    enter: Probability
    leave: Probability

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.enter + self.leave == 0:
            raise Inconsistent("enter and leave must not both be 0", self, "Give one of them a probability.")

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        u = uniforms(0)
        slow = u < self.slow_share if state is None else np.where(state > 0, u >= self.leave, u < self.enter)
        return np.where(slow, self.slow, self.fast), slow.astype(np.float64)

    @property
    def slow_share(self) -> float:
        """The chance of being slow in the long run, and in the first round: a number below it makes a worker so."""
        return self.enter / (self.enter + self.leave)


@dataclass(frozen=True)
class Slow(_Checked):
    """``n`` workers, always the same ones, are late by ``delay``."""

    n: Count
    delay: SecondsOrNever

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-1), self.n), self.delay, 0.0), None


@dataclass(frozen=True)
class Dead(_Checked):
    """``n`` workers, always the same ones, never respond."""

    n: Count

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None


@dataclass(frozen=True)
class _Slowing(_Checked):
    """A model that adds no seconds."""

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Any]:
        return np.zeros_like(uniforms(0)), None


@dataclass(frozen=True)
class SlowDown(_Slowing):
    """Each worker computes ``factor`` times slower in a round with probability ``p``."""

    p: Probability
    factor: Positive

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        return np.where(uniforms(0) < self.p, self.factor, 1.0)

    @property
    def slow_share(self) -> float:
        """The chance of being slow: a number below it makes a worker so."""
        return self.p


@dataclass(frozen=True)
class AlwaysSlowDown(_Slowing):
    """``n`` workers, always the same ones, compute ``factor`` times slower; below 1, faster."""

    n: Count
    factor: Positive

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        return np.where(_chosen(uniforms(-3), self.n), self.factor, 1.0)


@dataclass(frozen=True)
class LogNormalSlowDown(_Slowing):
    """In each round a worker is slower by a factor of median 1, with a normal logarithm of deviation ``sigma``."""

    sigma: Positive

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        return _log_normal(uniforms(0), self.sigma)


@dataclass(frozen=True)
class MarkovSlowDown(_Slowing):
    """Bursts: a worker turns ``factor`` times slower with probability ``enter`` a round, and back with ``leave``."""

    factor: Positive
    enter: Probability
    leave: Probability

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._chain

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Any]:
        return self._chain.draw(uniforms, round_index, operations, state)

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        assert state is not None, "the state that draw returned for this round"
        return np.where(state > 0, self.factor, 1.0)

    @property
    def slow_share(self) -> float:
        """The chance of being slow in the long run, and in the first round: a number below it makes a worker so."""
        return self._chain.slow_share

    @property
    def _chain(self) -> Markov:
        return Markov(0.0, 0.0, self.enter, self.leave)


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded seconds, ``(rounds, workers)``; both axes start over where they end.

    Parameters
    ----------
    seconds
        (rounds, workers); infinite for a worker that is dead.
    unseen
        The share of tasks that took longer than any that was finished, so that of these too little is known.
    slowness
        How many times as long as usual each took for its work, (rounds, workers); None where that was not recorded.
    """

    seconds: Array
    unseen: float = 0.0
    slowness: Array | None = None

    def __post_init__(self) -> None:
        _require_table(self.seconds, self.slowness)

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        rounds, workers = self.seconds.shape
        return self.seconds[round_index % rounds, np.arange(uniforms(0).size) % workers], None

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        table = np.ones((1, 1)) if self.slowness is None else self.slowness
        return np.asarray(table[round_index % len(table), np.arange(uniforms(0).size) % table.shape[1]])


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Rounds of a recording, ``(rounds, workers)``, each drawn at random with replacement; workers start over."""

    seconds: Array
    slowness: Array | None = None

    def __post_init__(self) -> None:
        _require_table(self.seconds, self.slowness)

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        rounds, workers = self.seconds.shape
        numbers = uniforms(0)
        # one number for all workers: workers that are slow together in the recording stay so
        return self.seconds[int(numbers[0] * rounds), np.arange(numbers.size) % workers], None

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        numbers = uniforms(0)
        table = np.ones((1, 1)) if self.slowness is None else self.slowness
        return np.asarray(table[int(numbers[0] * len(table)), np.arange(numbers.size) % table.shape[1]])


@dataclass(frozen=True)
class Sum:
    """The delays of several models added up, and their slowness multiplied."""

    models: tuple[DelayModel, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("models must be at least one delay model to add up; got none. Add one, or take NoDelay().")

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        drawn, states = [], []
        for index, model in enumerate(self.models):
            own = None if state is None else state[index]
            delays, new = model.draw(self._uniforms_of(index, uniforms), round_index, operations, own)
            drawn.append(delays)
            states.append(np.zeros_like(delays) if new is None else new)
        return np.sum(drawn, axis=0), np.array(states)

    def factors(self, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
        product = np.ones_like(uniforms(0))
        for index, model in enumerate(self.models):
            own = None if state is None else state[index]
            product = product * factors_of(model, self._uniforms_of(index, uniforms), round_index, own)
        return product

    def _uniforms_of(self, index: int, uniforms: Uniforms) -> Uniforms:
        """Numbers of its own for each summand; the lasting choices (k < 0) are shared on purpose."""
        offset = self.offset(index)
        return lambda k: uniforms(k + offset if k >= 0 else k)

    def offset(self, index: int) -> int:
        """The number that is added to k for the uniforms of a summand."""
        return 16 * index


def _require_table(seconds: Any, slowness: Any = None) -> None:
    """`UsageError` unless recorded seconds are a table (rounds, workers) of times; infinite ones never come.

    The slowness, where there is any, must be a table of the same shape.
    """
    if not isinstance(seconds, np.ndarray) or seconds.ndim != 2 or seconds.size == 0 or seconds.dtype.kind not in "iuf":
        raise UsageError(
            "seconds must be a NumPy array of numbers, (rounds, workers), both at least 1; "
            f"got {getattr(seconds, 'shape', seconds)!r}."
        )
    if not np.all(seconds >= 0):
        raise UsageError("seconds must each be at least 0; got a negative one or NaN.")
    if slowness is not None and not (
        np.shape(slowness) == seconds.shape and np.all(np.isfinite(slowness)) and np.all(slowness > 0)
    ):
        raise UsageError(
            f"slowness must be finite numbers above 0 of the shape of seconds, {seconds.shape}; "
            f"got {np.shape(slowness)}."
        )


def factors_of(model: DelayModel, uniforms: Uniforms, round_index: int, state: Array | None) -> Array:
    """The factor on each worker's usual time of work, (W,); ones for a model that slows no worker.

    ``state``: the state that the model returned for this round.
    """
    found = getattr(model, "factors", None)
    return np.ones_like(uniforms(0)) if found is None else np.asarray(found(uniforms, round_index, state))


def slows(model: DelayModel) -> bool:
    """Whether some worker's work may take longer than usual in some round."""
    if isinstance(model, Sum):
        return any(map(slows, model.models))
    return model.slowness is not None if isinstance(model, (Trace, Bootstrap)) else hasattr(model, "factors")


def bootstrapped(model: DelayModel) -> DelayModel:
    """The model with the rounds of its traces in random order, drawn with replacement."""
    if isinstance(model, Trace):
        return Bootstrap(model.seconds, model.slowness)
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
    """Whether the delays of every round are known to have the distribution of the first; not of a model from elsewhere.

    A recording goes through its rounds: each is as likely as any other.
    """
    if isinstance(model, Sum):
        return all(map(is_stationary, model.models))
    return type(model).__module__ == __name__


def _log_normal(uniforms: Array, sigma: float) -> Array:
    """Numbers of median 1 with a normal logarithm of this deviation; small uniform numbers make large ones."""
    from scipy.special import ndtri

    most = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(np.exp(-sigma * ndtri(uniforms)), 1 / most, most))


def _chosen(uniforms: Array, n: int) -> NDArray[np.bool_]:
    """Mark the n workers with the smallest numbers."""
    marks = np.zeros(uniforms.size, dtype=np.bool_)
    marks[np.argsort(uniforms, kind="stable")[:n]] = True
    return marks
