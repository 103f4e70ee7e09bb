"""The list of promises names tests and benchmarks that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROMISES = (ROOT / "docs" / "promises.md").read_text()


def test_every_promise_is_held_by_something_that_exists() -> None:
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        _, promise, holders, _ = row.split(" | ") if row.count(" | ") == 3 else ("", *row.strip("| ").split(" | "), "")
        named = re.findall(r"`((?:tests|benchmarks)/[^`]+)`", holders)
        assert any(name.startswith("tests/") for name in named), f"no test holds: {promise}"
        for name in named:
            path, _, test = name.partition("::")
            text = (ROOT / path).read_text()
            assert not test or re.search(rf"^(def {test}\(|{test} = )", text, re.MULTILINE), f"{name} is not there"
