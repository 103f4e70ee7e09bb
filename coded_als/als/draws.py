"""Delays drawn for the schemes that are compared: the same for all of them."""

from __future__ import annotations

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import StoppingRule
from coded_als.cluster.waiting import RoundCost
from coded_als.delays import DelayModel, DelayStream, depends_on_operations

# Cost and stopping rule of each round of an iteration.
Schedule = list[tuple[RoundCost, StoppingRule]]


def repetition_seed(seed: int, repetition: int) -> int:
    """Seed of the delays of one repetition: the same for all schemes, so that they meet the same stragglers.

    Parameters
    ----------
    seed
        Of all repetitions.
    repetition
        Which one.
    """
    return int(np.random.SeedSequence([seed, repetition]).generate_state(1, np.uint64)[0])


class Draws:
    """The delays of several repetitions on W workers; drawn once for all schemes where they do not depend on the work.

    Parameters
    ----------
    model
        The delays.
    workers
        W.
    seed, repeats
        Each repetition has a seed of its own.
    """

    def __init__(self, model: DelayModel, workers: int, seed: int, repeats: int) -> None:
        self._model, self._workers = model, workers
        self._seeds = [repetition_seed(seed, number) for number in range(repeats)]
        self._drawn: Array | None = None

    def __len__(self) -> int:
        return len(self._seeds)

    def delays(self, schedule: Schedule, iterations: int) -> Array:
        """Seconds that each worker adds to each round of each iteration, (repeats, iterations, rounds, W).

        Parameters
        ----------
        schedule
            The rounds of an iteration.
        iterations
            How many.
        """
        rounds = len(schedule)
        if depends_on_operations(self._model):
            found = self._fresh([cost.operations for cost, _ in schedule] * iterations)
        else:
            if self._drawn is None or self._drawn.shape[1] < iterations * rounds:
                self._drawn = self._fresh([0.0] * (iterations * rounds))
            found = self._drawn[:, : iterations * rounds]
        return found.reshape(len(self), iterations, rounds, self._workers)

    def _fresh(self, operations: list[float]) -> Array:
        streams = [DelayStream(self._model, self._workers, seed) for seed in self._seeds]
        return np.array([[stream.next_round(count) for count in operations] for stream in streams])
