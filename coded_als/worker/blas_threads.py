"""BLAS threads of a worker, one unless it is told another number; read before NumPy is imported, so it does not import it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def blas_threads(threads: int) -> dict[str, str]:
    """The environment of a process that computes with so many BLAS threads."""
    return dict.fromkeys(VARIABLES, str(threads))


ONE_BLAS_THREAD = blas_threads(1)


def threads_asked_for(arguments: Sequence[str]) -> int:
    """The number after ``--threads`` on a command line, 1 without it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=1)
    return int(parser.parse_known_args(arguments)[0].threads)
