"""Straggler models: how many seconds each worker adds to a round.

One model has two uses: its draws are injected into real workers and charged by the virtual clock.
A draw is a pure function of (seed, worker, round), so the same seed gives the same delays on every
cluster, whatever the number of workers and the order of execution.

SPEC grammar: ``name:key=value,key=value``, durations as ``200us``, ``5ms``, ``1.5s``, ``2min`` or plain
seconds; delays joined by ``+`` are added: ``exp:mean=20ms+dead:n=3``.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError

Array = NDArray[np.float64]
Uniforms = Callable[[int], Array]
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "": 1.0}


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
        (W,) seconds, infinite for a worker that never answers, and the state.
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


@dataclass(frozen=True)
class Markov:
    """Bursts: a fast worker turns slow with probability ``enter`` a round, a slow one recovers with ``leave``."""

    fast: float
    slow: float
    enter: float
    leave: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        u = uniforms(0)
        if state is None:
            slow = u < self.enter / (self.enter + self.leave)
        else:
            slow = np.where(state > 0, u >= self.leave, u < self.enter)
        return np.where(slow, self.slow, self.fast), slow.astype(np.float64)


@dataclass(frozen=True)
class Slow:
    """``n`` workers, always the same ones, are late by ``delay``."""

    n: int
    delay: float

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-1), self.n), self.delay, 0.0), None


@dataclass(frozen=True)
class Dead:
    """``n`` workers, always the same ones, never answer."""

    n: int

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded seconds, ``(rounds, workers)``; both axes start over where they end."""

    seconds: Array

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, None]:
        rounds, workers = self.seconds.shape
        return self.seconds[round_index % rounds, np.arange(uniforms(0).size) % workers], None


@dataclass(frozen=True)
class Sum:
    """The delays of several models added up."""

    models: tuple[DelayModel, ...]

    def draw(self, uniforms: Uniforms, round_index: int, operations: float, state: Array | None) -> tuple[Array, Array]:
        total, states = np.zeros_like(uniforms(0)), np.zeros((len(self.models), uniforms(0).size))
        for index, model in enumerate(self.models):
            own = None if state is None else state[index]
            delays, new = model.draw(_numbers_of(uniforms, index), round_index, operations, own)
            total = total + delays
            if new is not None:
                states[index] = new
        return total, states


def _numbers_of(uniforms: Uniforms, summand: int) -> Uniforms:
    """Independent numbers for each summand; the lasting choices (k < 0) are shared on purpose."""
    return lambda k: uniforms(k + 16 * summand if k >= 0 else k)


MODELS: dict[str, type[DelayModel]] = {
    "none": NoDelay,
    "exp": ShiftedExponential,
    "shifted-exp": ShiftedExponential,
    "uniform": Uniform,
    "pareto": Pareto,
    "normal-ops": NormalPerOperation,
    "bimodal": Bimodal,
    "markov": Markov,
    "slow": Slow,
    "dead": Dead,
}
_PROBABILITIES = {"p", "enter", "leave"}
_POSITIVE = {"alpha", "scale"}


def parse_delays(spec: str) -> DelayModel:
    """The model that a SPEC names.

    Raises
    ------
    UsageError
        For an unknown model, an unknown, missing or unreadable parameter, or an unreadable trace.
    """
    parts = [_parse_one(part.strip()) for part in spec.split("+")]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


class DelayStream:
    """The delays of W workers, round after round.

    Parameters
    ----------
    spec
        A delay SPEC or a model.
    workers
        Number of workers W.
    seed
        Equal seeds give equal delays; worker w's do not depend on W.
    """

    def __init__(self, spec: str | DelayModel, workers: int, seed: int = 0) -> None:
        self.model = parse_delays(spec) if isinstance(spec, str) else spec
        self._ids = np.arange(workers, dtype=np.uint64)
        self._seed = seed
        self._round_index = 0
        self._state: Array | None = None

    def next_round(self, operations: float = 0.0) -> Array:
        """Seconds that each worker adds to the next round, (W,); infinite for one that never answers."""
        seconds, self._state = self.model.draw(self._uniforms, self._round_index, operations, self._state)
        self._round_index += 1
        return np.asarray(seconds, dtype=np.float64)

    def _uniforms(self, k: int) -> Array:
        round_index = self._round_index if k >= 0 else 0
        return hashed_uniforms(self._seed, round_index, k % 2**32, self._ids)


def arrival_order(seconds: Array) -> tuple[int, ...]:
    """Worker ids by their time; those that never answer are left out, ties go to the lower id."""
    order = np.argsort(seconds, kind="stable")
    return tuple(int(worker) for worker in order[np.isfinite(seconds[order])])


def hashed_uniforms(seed: int, round_index: int, draw: int, ids: NDArray[np.uint64]) -> Array:
    """Uniform numbers in (0, 1), a pure function of the four arguments (chained SplitMix64 finalisers)."""
    word = np.full(ids.shape, (seed + 0x632BE59BD9B4E019) % 2**64, dtype=np.uint64)
    for salt in (round_index, draw, ids):
        word = _mix(word + np.full(ids.shape, salt, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return ((word >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mix(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def _chosen(uniforms: Array, n: int) -> NDArray[np.bool_]:
    """Mark the n workers with the smallest numbers."""
    marks = np.zeros(uniforms.size, dtype=np.bool_)
    marks[np.argsort(uniforms, kind="stable")[:n]] = True
    return marks


def _parse_one(spec: str) -> DelayModel:
    name, _, text = spec.partition(":")
    if name == "trace":
        return Trace(read_trace(Path(text)))
    if name not in MODELS:
        raise UsageError(
            f"delays must be one of {', '.join(MODELS)} or trace:FILE; got {name!r}. See --help for the parameters."
        )
    model = MODELS[name]
    fields = {field.name: field for field in dataclasses.fields(model)}  # type: ignore[arg-type]
    values: dict[str, float | int] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in fields:
            raise UsageError(
                f"delays {name!r} take {', '.join(fields) or 'no parameters'}; got {key!r} in {spec!r}. Remove it."
            )
        values[key] = _parse_value(key, value, spec)
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in values]
    if missing:
        raise UsageError(f"delays {name!r} need {', '.join(missing)}; got {spec!r}. Write {name}:{missing[0]}=...")
    if {"enter", "leave"} <= values.keys() and values["enter"] + values["leave"] == 0:
        raise UsageError(f"enter and leave must not both be 0; got {spec!r}. Give one of them a probability.")
    return model(**values)


def _parse_value(key: str, text: str, spec: str) -> float | int:
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)(us|ms|s|min|)", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        value = float(match[1]) * _UNITS_S[match[2]]
        if not math.isfinite(value) or (key in _PROBABILITIES and value > 1) or (key in _POSITIVE and value <= 0):
            raise ValueError(text)
        return int(match[1]) if key == "n" else value
    except ValueError:
        rule = (
            "a probability in [0, 1]"
            if key in _PROBABILITIES
            else "a whole number"
            if key == "n"
            else "a number like 0.02, 20ms or 1s"
        )
        raise UsageError(f"{key} must be {rule}; got {text!r} in {spec!r}. Correct the delay SPEC.") from None


def read_trace(path: Path) -> Array:
    """Seconds ``(rounds, workers)`` from a CSV with the columns worker, round and seconds.

    Raises
    ------
    UsageError
        With the line number, for a missing file, column or value, a negative time or a task given twice.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            absent = {"worker", "round", "seconds"} - set(reader.fieldnames or ())
            if absent:
                raise UsageError(
                    f"a trace must have the columns worker, round, seconds; {path} lacks {', '.join(sorted(absent))}. Add them."
                )
            cells = {}
            for row in reader:
                cell, seconds = _trace_row(row, path, reader.line_num)
                if cell in cells:
                    raise UsageError(
                        f"a trace must have one time per worker and round; {path} line {reader.line_num} repeats one. Remove it."
                    )
                cells[cell] = seconds
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"a trace must be a readable CSV file; got {path}: {error}. Check the path.") from None
    if not cells:
        raise UsageError(f"a trace must have at least one row; {path} has none. Record one with --record-trace.")
    # a task that is not in the trace was not answered when the run ended: it never answers here either
    table = np.full((1 + max(r for r, _ in cells), 1 + max(w for _, w in cells)), np.inf)
    for cell, seconds in cells.items():
        table[cell] = seconds
    return table


def _trace_row(row: dict[str, str], path: Path, line: int) -> tuple[tuple[int, int], float]:
    try:
        cell, seconds = (int(row["round"]), int(row["worker"])), float(row["seconds"])
        if min(cell) < 0 or not seconds >= 0:
            raise ValueError
    except (ValueError, TypeError):
        raise UsageError(
            f"a trace must hold whole numbers for worker and round, and seconds >= 0; got {row} in {path} line {line}. Correct the line."
        ) from None
    return cell, seconds
