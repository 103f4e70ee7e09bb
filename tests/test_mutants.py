"""The planted mistakes of `make mutants` still fit the code that they are planted in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.planted import MUTANTS

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_can_be_planted(mutant: Mutant) -> None:
    assert mutant.planted(REPOSITORY) != (REPOSITORY / mutant.file).read_text()
