"""``python -m coded_als``: the command line."""

from coded_als.cli import main

main(prog_name="coded-als")
