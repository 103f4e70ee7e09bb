"""What importing costs, beside another checkout of the project: CPU seconds, in turns.

    git worktree add ../before COMMIT;  python benchmarks/imports.py [../before] [turns]

CPU time and not time on the clock, so that other load on the machine counts less; of each turn the two take one after
the other, and what is told is the ratio of the least of each. Both have their modules compiled to bytecode, as an
installed package has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

STATEMENTS = (
    "import coded_als",
    "from coded_als import CodedALS",
    "from coded_als import ImplicitALS",
    "from coded_als.baselines import RidgeALS, SGD",
    "from coded_als.master import LocalCluster",
    "from coded_als.data import load_ratings",
    "import coded_als.evaluation",
    "import coded_als.cli",
    "import coded_als.cli.fit",
)
SCRIPT = """
import resource, sys
sys.path[:0] = [{folder!r}]
{statement}
assert sys.modules["coded_als"].__file__.startswith({folder!r})
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def main(folders: list[Path], turns: int) -> None:
    with tempfile.TemporaryDirectory() as bytecode:
        for statement in STATEMENTS:
            compare(statement, folders, turns, bytecode)


def compare(statement: str, folders: list[Path], turns: int, bytecode: str) -> None:
    """Tell what a statement costs in each checkout, in turns; the first turn writes the bytecode and does not count."""
    seconds: dict[Path, list[float]] = {folder: [] for folder in folders}
    for _ in range(turns + 1):
        for folder, values in seconds.items():
            values.append(cpu_seconds(folder, statement, bytecode))
    least = [min(values[1:]) for values in seconds.values()]
    ratio = f"; ratio to the other {least[0] / least[1]:.2f}" if len(least) > 1 else ""
    print(f"{statement:46} {' and '.join(f'{value:.3f}' for value in least)} s{ratio}", flush=True)


def cpu_seconds(folder: Path, statement: str, bytecode: str) -> float:
    """CPU seconds of a process that runs a statement with a checkout, whose bytecode is kept in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=str(folder), statement=statement)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return float(done.stdout)


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    others = [Path(one).resolve() for one in sys.argv[1:2]]
    main([here, *others], int(sys.argv[2]) if len(sys.argv) > 2 else 7)
