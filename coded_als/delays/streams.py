"""Reproducible draws: a pure function of (seed, worker, round), in any process and any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import is_whole
from coded_als.delays.models import DelayModel, NoDelay, factors_of, slows
from coded_als.delays.spec import parse_delays
from coded_als.errors import UsageError

# A laptop has room for so many, and no cluster that codes are for has more.
MOST_WORKERS = 100_000
# As many delays of one round are drawn in some hundredths of a second, where times alone are drawn.
MOST_TIMED = 1_000_000


def require_workers(workers: int, most: int = MOST_WORKERS) -> None:
    """Raise `UsageError` unless the number of workers is one that can be simulated."""
    if not is_whole(workers):
        raise UsageError(f"workers must be a whole number; got {workers!r}.")
    if not 1 <= workers <= most:
        raise UsageError(f"workers must be from 1 to {most}; got {workers}.")


@dataclass(frozen=True)
class Disturbance:
    """The misfortune of each worker in one round.

    Parameters
    ----------
    delays_s
        Seconds before its work begins, (W,); infinite for a worker that never responds.
    slowness
        How many times as long as usual its work takes, (W,).
    """

    delays_s: Array
    slowness: Array

    @classmethod
    def late(cls, delays_s: Sequence[float]) -> Disturbance:
        """The given seconds of delay for each worker, and no slow worker."""
        return cls(np.array(delays_s, dtype=np.float64), np.ones(len(delays_s)))


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

    Raises
    ------
    UsageError
        For a SPEC that cannot be read, for no or too many workers, and for a seed that is no whole number.
    """

    def __init__(self, spec: str | DelayModel, workers: int, seed: int = 0) -> None:
        require_workers(workers, MOST_TIMED)
        if not is_whole(seed) or seed < 0:
            raise UsageError(f"seed must be a whole number of at least 0; got {seed!r}.")
        if not isinstance(spec, str) and not callable(getattr(spec, "draw", None)):
            raise UsageError(f"delays must be a SPEC or a delay model; got {spec!r}. Write 'exp:mean=20ms', say.")
        self.model = parse_delays(spec) if isinstance(spec, str) else spec
        self.workers = workers
        self._ids = np.arange(workers, dtype=np.uint64)
        self._seed = int(seed)
        self._round_index = 0
        self._state: Array | None = None

    def next_round(self, operations: float = 0.0) -> Array:
        """Seconds before each worker's work of the next round, (W,); infinite for one that never responds."""
        return self.disturb(operations).delays_s

    def disturb(self, operations: float = 0.0) -> Disturbance:
        """The delay and the slowness of each worker in the next round, of so many multiplications."""
        if isinstance(self.model, NoDelay):
            return Disturbance.late([0.0] * self.workers)  # without drawing numbers that nobody needs
        seconds, self._state = self.model.draw(self._uniforms, self._round_index, operations, self._state)
        seconds = np.asarray(seconds, dtype=np.float64)
        slowness = np.ones_like(seconds)
        if slows(self.model):
            slowness = factors_of(self.model, self._uniforms, self._round_index, self._state)
        self._round_index += 1
        return Disturbance(seconds, slowness)

    def _uniforms(self, k: int) -> Array:
        round_index = self._round_index if k >= 0 else 0
        return hashed_uniforms(self._seed, round_index, k % 2**32, self._ids)


def arrival_order(seconds: Array) -> tuple[int, ...]:
    """Worker ids by their time; those that never respond are left out, ties go to the lower id."""
    order = np.argsort(seconds, kind="stable")
    return tuple(int(worker) for worker in order[np.isfinite(seconds[order])])


def hashed_uniforms(seed: int, round_index: int | NDArray[np.uint64], draw: int, ids: NDArray[np.uint64]) -> Array:
    """Uniform numbers in (0, 1), a pure function of the four arguments (chained SplitMix64 finalisers).

    Parameters
    ----------
    seed
        Of the stream.
    round_index
        Which round; an array of them is broadcast against the ids.
    draw
        Which of the draws of the round.
    ids
        Worker ids, (k,), or of any shape.

    Returns
    -------
    Of the shape of the ids.
    """
    if isinstance(round_index, np.ndarray):
        word = np.full(ids.shape, (seed + 0x632BE59BD9B4E019) % 2**64, dtype=np.uint64)
        for salt in (round_index, draw, ids):
            word = _mix(word + np.full(ids.shape, salt, dtype=np.uint64) * np.uint64(GOLDEN))
        return _as_uniforms(word)
    # seed, round and draw are the same for all ids: only the last mixing is of an array, in parts that caches hold
    start = (seed + 0x632BE59BD9B4E019) % 2**64
    for one in (round_index, draw):
        start = _mix_one((start + int(one) * GOLDEN) % 2**64)
    found, flat = np.empty(ids.size), ids.reshape(-1)
    for first in range(0, ids.size, CACHED):
        part = slice(first, first + CACHED)
        found[part] = _as_uniforms(_mix(flat[part] * np.uint64(GOLDEN) + np.uint64(start)))
    return found.reshape(ids.shape)


GOLDEN = 0x9E3779B97F4A7C15
# Numbers of a part whose arrays stay in the processor's cache.
CACHED = 2**14


def _as_uniforms(word: NDArray[np.uint64]) -> Array:
    return ((word >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


# Shifts and factors of a SplitMix64 finaliser, and its last shift.
STEPS, LAST_SHIFT = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)), 31


def _mix(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in STEPS:
        word = word ^ (word >> np.uint64(shift))
        word *= np.uint64(factor)
    word ^= word >> np.uint64(LAST_SHIFT)
    return word


def _mix_one(word: int) -> int:
    """`_mix` of one number, for which an array takes nine times as long."""
    for shift, factor in STEPS:
        word = (word ^ (word >> shift)) * factor % 2**64
    return word ^ (word >> LAST_SHIFT)
