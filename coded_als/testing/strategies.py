"""Hypothesis strategies: codes, survivors, operands, and SPECs of delays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from hypothesis import strategies as st

from coded_als.arrays import Array
from coded_als.codes import EntangledPolynomialCode, MatrixCode, ReplicatedProduct, SystematicCode
from coded_als.testing.invariants import CodedTrial

# Real evaluation points lose a digit with every second coefficient; more of them show rounding and not the code.
MOST_REAL_COEFFICIENTS = 12
SEEDS = st.integers(0, 2**32 - 1)
CodeKind = Literal["circle", "real", "systematic", "replicated"]
KINDS: tuple[CodeKind, ...] = ("circle", "real", "systematic", "replicated")


@st.composite
def matrix_codes(
    draw: st.DrawFn, kinds: Sequence[CodeKind] = KINDS, surplus: tuple[int, int] = (0, 4), most_parts: int = 4
) -> MatrixCode:
    """Draw codes of the package with their workers.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    kinds
        ``"systematic"``, ``"replicated"``, and the point families ``"circle"`` and ``"real"`` of the entangled code.
    surplus
        The fewest and the most workers beyond the recovery threshold.
    most_parts
        The most parts of each side of the operands.

    Returns
    -------
    A code.

    Examples
    --------
    >>> from hypothesis import given
    >>> from coded_als.testing import CodedTrial, decodes_within_the_estimate
    >>> @given(matrix_codes(kinds=["systematic"]))
    ... def test(code):
    ...     decodes_within_the_estimate(CodedTrial.random(code), range(code.recovery_threshold))
    >>> test()
    """
    kind, spare = draw(st.sampled_from(list(kinds))), draw(st.integers(*surplus))
    parts = st.integers(1, most_parts)
    p, r, q = draw(parts), draw(parts), draw(parts)
    if kind == "replicated":
        return ReplicatedProduct(p, r, q, p * r * q * 2 + spare)
    if kind == "systematic":
        return SystematicCode(p, q, p * q + spare)
    if kind == "real":
        while p * q * r + r - 1 > MOST_REAL_COEFFICIENTS:
            p, r, q = max(1, p - 1), max(1, r - 1), max(1, q - 1)
    threshold = EntangledPolynomialCode(p, r, q, 10**3, kind).recovery_threshold
    return EntangledPolynomialCode(p, r, q, threshold + spare, kind)


@st.composite
def survivors(draw: st.DrawFn, code: MatrixCode, size: int | None = None) -> tuple[int, ...]:
    """Draw workers of a code in an order of arrival, as many as the threshold or as requested.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    code
        The code.
    size
        Workers that respond; the recovery threshold unless given.

    Returns
    -------
    Worker ids in their order of arrival.

    Examples
    --------
    >>> from hypothesis import given
    >>> from coded_als.codes import SystematicCode
    >>> from coded_als.testing import CodedTrial, decodes_within_the_estimate
    >>> from coded_als.testing.strategies import survivors
    >>> trial = CodedTrial.random(SystematicCode(4, 1, 6))
    >>> @given(survivors(trial.code))
    ... def test_any_four_decode(workers):
    ...     decodes_within_the_estimate(trial, workers)
    >>> test_any_four_decode()
    """
    order = draw(st.permutations(range(code.workers)))
    return tuple(order[: code.recovery_threshold if size is None else size])


@st.composite
def matrices(draw: st.DrawFn, most_rows: int = 12, most_columns: int = 12) -> Array:
    """Draw normal matrices of any small shape, some scaled far up or down.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    most_rows
        Largest number of rows.
    most_columns
        Largest number of columns.

    Returns
    -------
    A matrix, (rows, columns).

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import given
    >>> from coded_als.testing.strategies import matrices
    >>> @given(matrices(most_rows=5))
    ... def test_shapes(matrix):
    ...     assert matrix.shape[0] <= 5
    >>> test_shapes()
    """
    shape = draw(st.integers(1, most_rows)), draw(st.integers(1, most_columns))
    scale = draw(st.sampled_from([1.0, 1.0, 1e-150, 1e100]))
    return np.asarray(np.random.default_rng(draw(SEEDS)).standard_normal(shape) * scale)


@st.composite
def trials(draw: st.DrawFn, codes: st.SearchStrategy[MatrixCode] | None = None) -> CodedTrial:
    """Draw products of random operands with the responses of every worker.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    codes
        Strategy of the code; `matrix_codes` unless given.

    Returns
    -------
    A trial.

    Examples
    --------
    >>> from hypothesis import given
    >>> from coded_als.testing import is_linear
    >>> from coded_als.testing.strategies import trials
    >>> @given(trials())
    ... def test_decoding_is_linear(trial):
    ...     is_linear(trial, range(trial.code.workers))
    >>> test_decoding_is_linear()
    """
    code = draw(matrix_codes() if codes is None else codes)
    left = draw(matrices())
    columns = draw(st.integers(1, 12))
    right = np.random.default_rng(draw(SEEDS)).standard_normal((left.shape[1], columns))
    return CodedTrial(code, left, right)


def delay_specs() -> st.SearchStrategy[str]:
    """Return SPECs of delays, also sums of two.

    Returns
    -------
    A strategy of strings that `coded_als.delays.parse_delays` reads.

    Examples
    --------
    >>> from hypothesis import given
    >>> from coded_als.delays import parse_delays
    >>> from coded_als.testing.strategies import delay_specs
    >>> @given(delay_specs())
    ... def test_specs_are_read(spec):
    ...     parse_delays(spec)
    >>> test_specs_are_read()
    """
    seconds = st.floats(1e-4, 10).map(lambda value: f"{value:.6g}s")
    chance = st.floats(0.001, 0.999).map(lambda value: f"{value:.6g}")
    single = st.one_of(
        st.just("none"),
        seconds.map(lambda mean: f"exp:mean={mean}"),
        st.tuples(seconds, seconds).map(lambda pair: f"shifted-exp:shift={pair[0]},mean={pair[1]}"),
        st.tuples(seconds, st.floats(1.1, 5)).map(lambda pair: f"pareto:scale={pair[0]},alpha={pair[1]:.4g}"),
        st.tuples(chance, seconds, seconds).map(lambda t: f"bimodal:p={t[0]},fast={t[1]},slow={t[2]}"),
        st.tuples(seconds, seconds, chance, chance).map(
            lambda t: f"markov:fast={t[0]},slow={t[1]},enter={t[2]},leave={t[3]}"
        ),
    )
    return st.one_of(single, st.tuples(single, single).map("+".join))
