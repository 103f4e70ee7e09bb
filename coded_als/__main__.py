"""``python -m coded_als``: the command line."""

from __future__ import annotations

from coded_als.cli import main

main(prog_name="python -m coded_als")
