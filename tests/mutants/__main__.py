"""Plants every mutant in a copy of the repository, runs its tests and then the whole suite, and says who survives.

``python -m tests.mutants [WORD ...]`` runs the mutants whose names hold a word; all without one. Exit code 1 when one
survives, 2 when one cannot be planted any more or the tests fail without it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.mutants.mutant import DoesNotApply, Mutant
from tests.mutants.planted import MUTANTS

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 900.0
PASSED, FAILED = 0, 1


def main() -> int:
    options = _options()
    chosen = [m for m in MUTANTS if not options.words or any(word in m.name for word in options.words)]
    try:
        for mutant in chosen:
            mutant.planted(REPOSITORY)
    except DoesNotApply as error:
        print(f"A patch no longer applies. Mend it in tests/mutants: {error}", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        copy = stack.enter_context(_copy())
        for _ in range(options.busy):
            stack.enter_context(_busy_process())
        targets = sorted({test for mutant in chosen for test in mutant.tests})
        print(f"{len(chosen)} mutants; without them:", end=" ", flush=True)
        code, told, seconds = _test(copy, targets)
        print(f"{told or 'all pass'}, {seconds:.0f} s", flush=True)
        if code != PASSED:
            print("The tests must pass before a mistake is planted.", file=sys.stderr)
            return 2
        survivors = [m.name for m in chosen if not _dies(copy, m, options.runs, options.own)]
    print(f"{len(survivors)} of {len(chosen)} survive" + "".join(f"\n  {name}" for name in survivors))
    return FAILED if survivors else PASSED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose names hold one of these")
    parser.add_argument("--own", action="store_true", help="run their own tests alone, never the whole suite")
    parser.add_argument("--runs", type=int, default=1, help="how often each must die")
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside the tests")
    return parser.parse_args()


def _dies(copy: Path, mutant: Mutant, runs: int, own: bool) -> bool:
    """Whether the tests notice every time: its own, or else the whole default suite."""
    path = copy / mutant.file
    sound = path.read_text()
    path.write_text(mutant.planted(copy))
    try:
        for _ in range(runs):
            code, told, seconds = _test(copy, mutant.tests)
            if code == PASSED and not own:
                print(f"          {mutant.name}: unnoticed by its own tests; the whole suite ...", flush=True)
                code, told, seconds = _test(copy, [])
            print(f"{'dies' if code == FAILED else 'SURVIVES':<9} {mutant.name}: {told} ({seconds:.0f} s)", flush=True)
            if code != FAILED:
                return False
    finally:
        path.write_text(sound)
    return True


def _test(copy: Path, targets: Sequence[str]) -> tuple[int, str, float]:
    """Exit code of pytest, the test that failed, and the seconds; a run without an end is a failure too."""
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)  # what one mutant taught must not help with the next
    # no compiled modules: a change of equal length within a second would go unnoticed
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    # a test that is named is run although it is slow
    marks = ["-m", "slow or not slow"] if targets and all("::" in target for target in targets) else []
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *marks, *targets]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=copy, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return FAILED, f"no end within {TIMEOUT_S:.0f} s", time.monotonic() - started
        output.seek(0)
        text = output.read()
    if code not in (PASSED, FAILED):
        raise SystemExit(f"pytest could not run ({code}):\n{text[-3000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, flags=re.M)
    return code, failed[1] if failed else "", time.monotonic() - started


@contextmanager
def _copy() -> Iterator[Path]:
    """What git knows of the working tree, beside nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True, text=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="coded-als-mutants-") as folder:
        copy = Path(folder) / "repository"
        for name in filter(None, listed.stdout.split("\0")):
            source, target = REPOSITORY / name, copy / name
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        yield copy


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
