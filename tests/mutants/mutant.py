"""A planted mistake: exact text that is replaced in the sources, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class DoesNotApply(Exception):
    """The sources have moved on: the text to be replaced is not there exactly once."""


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Parameters
    ----------
    name
        What is wrong with the program once it is planted.
    file
        Below the repository.
    text
        What is replaced; it must occur exactly once.
    replacement
        What stands there instead.
    tests
        Files or folders of the default suite, one of which must fail.
    """

    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]

    def planted(self, repository: Path) -> str:
        """The text of its file with the mistake.

        Raises
        ------
        DoesNotApply
        """
        path = repository / self.file
        source = path.read_text() if path.exists() else ""
        if source.count(self.text) != 1:
            raise DoesNotApply(f"{self.name}: {self.file} has the text to replace {source.count(self.text)} times")
        absent = [test for test in self.tests if not (repository / test.partition("::")[0]).exists()]
        if absent or not self.tests:
            raise DoesNotApply(f"{self.name}: there is no {', '.join(absent) or 'test'}")
        return source.replace(self.text, self.replacement)
