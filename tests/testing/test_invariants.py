"""Every code of the package keeps the public invariants; a code that breaks one is found by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.codes import EntangledPolynomialCode, SystematicCode
from coded_als.delays import parse_delays
from coded_als.testing import INVARIANTS, CodedTrial
from coded_als.testing.strategies import delay_specs, matrix_codes, survivors, trials


@pytest.mark.parametrize("name", INVARIANTS)
@given(data=st.data())
@settings(max_examples=80)
def test_codes_of_the_package_keep_every_invariant(name, data):
    trial = data.draw(trials(matrix_codes(kinds=["circle", "real", "systematic"])))
    surplus = name.startswith("never gets worse")
    INVARIANTS[name](trial, data.draw(survivors(trial.code, trial.code.workers if surplus else None)))


@pytest.mark.parametrize("name", INVARIANTS)
@given(data=st.data())
@settings(max_examples=30)
def test_copies_keep_every_invariant(name, data):
    trial = data.draw(trials(matrix_codes(kinds=["replicated"])))
    # as many as the threshold rarely hold all blocks
    INVARIANTS[name](trial, data.draw(survivors(trial.code, trial.code.workers)))


@given(spec=delay_specs())
def test_the_specs_of_delays_are_read(spec):
    assert parse_delays(spec) is not None


class Changed:
    """A sound code but for one method."""

    def __init__(self, code, **methods):
        self._code = code
        for name, method in methods.items():
            setattr(self, name, method)

    def __getattr__(self, name):
        return getattr(self._code, name)


SOUND = SystematicCode(3, 1, 6)


def noisy(responses, shape=None, tolerance=None):
    return SOUND.decode(responses, shape, tolerance) + 1e-6


def by_arrival(responses, shape=None, tolerance=None):
    return SOUND.decode(responses, shape, tolerance) * (1 + np.finfo(float).eps * next(iter(responses)))


def squared(responses, shape=None, tolerance=None):
    found = SOUND.decode(responses, shape, tolerance)
    return found + 1e-3 * found**2


def lenient(responses, shape=None, tolerance=None):
    try:
        return SOUND.decode(responses, shape, tolerance)
    except Exception:
        return np.zeros(shape)


BROKEN = {
    "decodes within its estimate": {"decode": noisy},
    "is independent of the order of arrival": {"decode": by_arrival},
    "is linear": {"decode": squared},
    "never gets worse by a surplus": {"error_estimate": lambda workers: 1e-15 * len(workers) ** 3},
    "refuses one response fewer": {"decode": lenient},
    "has the announced shapes": {"left_shape": lambda shape: (1, *shape)},
}


@pytest.mark.parametrize("name", INVARIANTS)
def test_a_code_that_breaks_an_invariant_is_found(name):
    order = [1, 4, 2, 5, 0, 3] if name.startswith("never") else [1, 4, 2]
    INVARIANTS[name](CodedTrial.random(SOUND), order)
    with pytest.raises(AssertionError):
        INVARIANTS[name](CodedTrial.random(Changed(SOUND, **BROKEN[name])), order)


def test_a_trial_measures_the_error_of_decoding():
    trial = CodedTrial.random(EntangledPolynomialCode(3, 3, 1, 20, "real"), seed=2)
    rows, columns = trial.exact.shape
    assert rows % 3
    assert columns == 3
    chosen = list(range(11))
    expected = np.linalg.norm(trial.decoded(chosen) - trial.left @ trial.right)
    assert trial.error(chosen) == pytest.approx(expected / np.linalg.norm(trial.left) / np.linalg.norm(trial.right))
    assert 0 < trial.error(chosen) < trial.code.error_estimate(chosen)
    assert trial.error(chosen[:10]) == np.inf
