"""Invariants of a matrix code, each a function that raises AssertionError where a code breaks it.

Each takes a `CodedTrial`, which is a product C = A B with the response of every worker, and the workers that respond,
in their order of arrival. The functions ask only for the `coded_als.codes.MatrixCode` interface, so they run on a code of
your own as on those of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from coded_als.arrays import EPS, Array
from coded_als.checks import RNG, seed_from
from coded_als.codes import MatrixCode
from coded_als.codes.decoding import ROUNDING_UNITS
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.kernels import product, run_to_end


@dataclass(frozen=True)
class CodedTrial:
    """A product C = A B of random operands, and the response of every worker to it.

    Parameters
    ----------
    code
        The code that cuts, encodes and decodes.
    left
        A, (N, M).
    right
        B, (M, Q).

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> trial = CodedTrial.random(SystematicCode(4, 1, 6), seed=1)
    >>> trial.error([5, 4, 1, 0]) <= trial.code.error_estimate([5, 4, 1, 0])
    True
    """

    code: MatrixCode
    left: Array
    right: Array

    @classmethod
    def random(cls, code: MatrixCode, seed: int | None = None, *, rng: RNG = None) -> CodedTrial:
        """Return a trial of normal operands with sides that the parts of the code do not divide, (2p + 1, 13) and (13, 3).

        Parameters
        ----------
        code
            The code.
        seed
            Seed of the operands.
        rng
            In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
            drawn from. Without either the seed is 0.

        Returns
        -------
        The trial.
        """
        normal = np.random.default_rng(seed_from(seed, rng)).standard_normal
        rows = 2 * code.recovery_threshold + 1
        return cls(code, normal((rows, 13)), normal((13, 3)))

    @cached_property
    def exact(self) -> Array:
        """C = A B by NumPy, (N, Q)."""
        return self.left @ self.right

    @cached_property
    def scale(self) -> float:
        """|A| |B| (Frobenius): errors of decoding are relative to it."""
        return float(np.linalg.norm(self.left) * np.linalg.norm(self.right))

    @cached_property
    def responses(self) -> Mapping[int, Array]:
        """The response of every worker, (planes, rows, columns) each."""
        return self.responses_to(self.right)

    def responses_to(self, right: Array) -> dict[int, Array]:
        """Return the responses of every worker to another B, (M, Q)."""
        shares = zip(self.code.encode_left(self.left), self.code.encode_right(right), strict=True)
        return {worker: run_to_end(product(*pair))[0] for worker, pair in enumerate(shares)}

    def decoded(self, workers: Sequence[int]) -> Array:
        """Return C decoded from the responses of these workers, (N, Q)."""
        return self.code.decode({worker: self.responses[worker] for worker in workers}, self.exact.shape)

    def error(self, workers: Sequence[int]) -> float:
        """Return the measured error of C decoded from these workers, relative to |A| |B|; infinite if they do not decode."""
        try:
            found = self.decoded(workers)
        except (NotEnoughWorkers, DecodingError):
            return np.inf
        error = float(np.linalg.norm(found - self.exact)) / self.scale
        return error if np.isfinite(error) else np.inf


def decodes_within_the_estimate(trial: CodedTrial, workers: Sequence[int]) -> None:
    """Assert that the product is as exact as the code has said beforehand: `error_estimate` is a bound in practice.

    Parameters
    ----------
    trial
        The product and its responses.
    workers
        At least as many as the recovery threshold. A set that does not decode by the code's own (infinite) estimate
        passes.

    Raises
    ------
    AssertionError
        When the measured error is above the estimate.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, decodes_within_the_estimate
    >>> decodes_within_the_estimate(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2])
    """
    estimate = trial.code.error_estimate(workers)
    assert estimate > 0, f"error_estimate must be above 0; got {estimate} for workers {list(workers)}"
    if np.isfinite(estimate):
        error = trial.error(workers)
        assert error <= estimate, f"workers {list(workers)} decode to {error:.1e}, and the estimate is {estimate:.1e}"


def is_independent_of_the_order_of_arrival(trial: CodedTrial, workers: Sequence[int]) -> None:
    """Assert that the same responses in the reverse order decode to the same numbers, bit for bit.

    Parameters
    ----------
    trial
        The product and its responses.
    workers
        A set that decodes, in its order of arrival.

    Raises
    ------
    AssertionError
        When a bit differs. Sort the responses by worker before they are added.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, is_independent_of_the_order_of_arrival
    >>> is_independent_of_the_order_of_arrival(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2])
    """
    same = np.array_equal(trial.decoded(workers), trial.decoded(list(workers)[::-1]))
    assert same, f"workers {list(workers)} decode to other bits in the reverse order; sort them by worker"


def is_linear(trial: CodedTrial, workers: Sequence[int], factor: float = -3.0) -> None:
    """Assert that a sum of responses decodes to the sum of the decoded products.

    Parameters
    ----------
    trial
        The product and its responses; a second product has the rows of B in reverse order.
    workers
        A set that decodes.
    factor
        The second product counts so many times.

    Raises
    ------
    AssertionError
        When the difference is above the bound of the estimate.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, is_linear
    >>> is_linear(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2])
    """
    other = trial.responses_to(np.ascontiguousarray(trial.right[::-1]))
    summed = {worker: trial.responses[worker] + factor * other[worker] for worker in workers}
    both, first = trial.code.decode(summed, trial.exact.shape), trial.decoded(workers)
    second = trial.code.decode({worker: other[worker] for worker in workers}, trial.exact.shape)
    difference = float(np.linalg.norm(both - (first + factor * second)))
    allowed = 2 * (1 + abs(factor)) * trial.code.error_estimate(workers) * trial.scale
    assert difference <= allowed, f"decoding is not linear for workers {list(workers)}: off by {difference:.1e}"


def surplus_never_worsens_the_estimate(trial: CodedTrial, workers: Sequence[int]) -> None:
    """Assert that the estimated error does not grow with a further response.

    Parameters
    ----------
    trial
        The product and its responses.
    workers
        More than the recovery threshold, in their order of arrival.

    Raises
    ------
    AssertionError
        When the estimate grows by more than the rounding of one entry.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, surplus_never_worsens_the_estimate
    >>> surplus_never_worsens_the_estimate(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2, 0])
    """
    counts = range(trial.code.recovery_threshold, len(workers) + 1)
    estimates = [trial.code.error_estimate(workers[:count]) for count in counts]
    # a block that arrives in plain has the error of one rounding, though many helpers may have known it better
    unit = ROUNDING_UNITS * EPS
    for count, (early, late) in zip(counts, pairwise(estimates), strict=False):
        worse = late > np.hypot(early, unit) * (1 + 1e-6)
        assert not worse, (
            f"response {count + 1} of workers {list(workers)} raises the estimate from {early:.1e} to {late:.1e}"
        )


def refuses_one_response_fewer(trial: CodedTrial, workers: Sequence[int]) -> None:
    """Assert that one response below the recovery threshold is refused, and known to be refused beforehand.

    Parameters
    ----------
    trial
        The product and its responses.
    workers
        Any, at least as many as the recovery threshold; the first ones are taken.

    Raises
    ------
    AssertionError
        When the code decodes from them, or gives a finite estimate.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, refuses_one_response_fewer
    >>> refuses_one_response_fewer(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2])
    """
    fewer = list(workers)[: trial.code.recovery_threshold - 1]
    if fewer:
        estimate = trial.code.error_estimate(fewer)
        assert estimate == np.inf, f"{len(fewer)} responses must have an infinite estimate; got {estimate:.1e}"
        assert trial.error(fewer) == np.inf, f"{len(fewer)} responses must be refused; workers {fewer} decode"


def has_the_announced_shapes(trial: CodedTrial, workers: Sequence[int]) -> None:
    """Assert that shares and responses have the shapes that the code announces: memory and time are planned from them.

    Parameters
    ----------
    trial
        The product and its responses.
    workers
        The workers with the responses to check.

    Raises
    ------
    AssertionError
        When a shape differs.

    Examples
    --------
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, has_the_announced_shapes
    >>> has_the_announced_shapes(CodedTrial.random(SystematicCode(4, 1, 6)), [5, 1, 4, 2])
    """
    code = trial.code
    for left, right in zip(code.encode_left(trial.left), code.encode_right(trial.right), strict=True):
        assert left.shape == code.left_shape(trial.left.shape), f"a share of A has shape {left.shape}"
        assert right.shape == code.right_shape(trial.right.shape), f"a share of B has shape {right.shape}"
    for worker in workers:
        shape = trial.responses[worker].shape
        assert shape == code.response_shape(trial.exact.shape), f"the response of worker {worker} has shape {shape}"


Invariant = Callable[[CodedTrial, Sequence[int]], None]
# all of them, by the words that a report uses
INVARIANTS: Mapping[str, Invariant] = {
    "decodes within its estimate": decodes_within_the_estimate,
    "is independent of the order of arrival": is_independent_of_the_order_of_arrival,
    "is linear": is_linear,
    "never gets worse by a surplus": surplus_never_worsens_the_estimate,
    "refuses one response fewer": refuses_one_response_fewer,
    "has the announced shapes": has_the_announced_shapes,
}
