"""The mistakes that are planted: each left the whole suite green once."""

from __future__ import annotations

from tests.mutants.algorithm import ALGORITHM, CODES
from tests.mutants.experiments import COMMANDS, EXPERIMENTS
from tests.mutants.installing import INSTALLING
from tests.mutants.models import MODELS
from tests.mutants.reading import READING
from tests.mutants.workers import CLUSTERS, DASK, DELAYS, PROCESSES, SLOW_WORK

MUTANTS = (
    *CODES,
    *ALGORITHM,
    *CLUSTERS,
    *SLOW_WORK,
    *PROCESSES,
    *DASK,
    *DELAYS,
    *MODELS,
    *READING,
    *EXPERIMENTS,
    *COMMANDS,
    *INSTALLING,
)
