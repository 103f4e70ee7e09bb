"""The README of the package is that of the repository without relative links, which work in the repository alone."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

IMAGE, LINK = r"!\[[^\]]*\]\((?!\w+:)[^)]*\)\n*", r"\[([^\]]*)\]\((?!\w+:)[^)]*\)"
README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")

setup(
    long_description=re.sub(LINK, r"\1", re.sub(IMAGE, "", README)),
    long_description_content_type="text/markdown",
)
