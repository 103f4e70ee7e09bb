"""Runs seeds of the simulation, and shrinks those that fail.

``python -m tests.simulation 42`` replays a seed with its trace; ``0:10000`` runs so many, in two processes; ``--mistakes
[WORD ...]`` plants each mistake in turn and says which seed finds it. Exit code 1 when a law does not hold, or a mistake
is not found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.mistakes import MISTAKES, plant

# The last lines of a trace that are shown, the seeds of one task of a process, and those that must find a mistake.
SHOWN, AT_ONCE, MOST_SEEDS = 60, 100, 1000


def main() -> int:
    options = _options()
    if options.mistakes is not None:
        return find(options.mistakes)
    if options.plant:
        plant(next(mistake for mistake in MISTAKES if options.plant in mistake.name))
    first, _, last = options.seeds.partition(":")
    if not last:
        return replay(int(first))
    if options.stop:
        return first_found(range(int(first), int(last)))
    return run(range(int(first), int(last)), options.processes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="0:10000", help="a seed, or FIRST:LAST")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plant", metavar="WORD", help="with the mistake whose name holds this")
    parser.add_argument("--stop", action="store_true", help="end with the first seed that fails")
    parser.add_argument(
        "--mistakes", nargs="*", metavar="WORD", help="plant each mistake whose name holds one of these"
    )
    return parser.parse_args()


def replay(seed: int) -> int:
    """Run one seed, and say all that happened."""
    from tests.simulation.scenario import drawn
    from tests.simulation.shrinking import shrunk, violation_of

    scenario = drawn(seed)
    violation = violation_of(scenario)
    if violation is None:
        print(f"{scenario}\nno violation")
        return 0
    smallest = shrunk(scenario)
    violation = violation_of(smallest) or violation
    print("\n".join(violation.trace[-SHOWN:]))
    print(f"{scenario}\nshrunk to, with the trace above:\n{smallest}\nVIOLATION of seed {seed}: {violation}")
    return 1


def run(seeds: range, processes: int) -> int:
    """Run many seeds, and name those that fail."""
    started, failed = time.perf_counter(), 0
    with ProcessPoolExecutor(processes) as pool:
        for some in pool.map(failures, [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]):
            failed += len(some)
            for seed, text in some:
                print(f"seed {seed}: {text}", flush=True)
    seconds = time.perf_counter() - started
    print(f"{len(seeds)} seeds, {failed} with a violation; {seconds:.0f} s, {1000 * seconds / len(seeds):.0f} ms each")
    return 1 if failed else 0


def failures(seeds: Sequence[int]) -> list[tuple[int, str]]:
    """The seeds among these that break a law."""
    from tests.simulation.scenario import drawn
    from tests.simulation.shrinking import violation_of

    found = ((seed, violation_of(drawn(seed))) for seed in seeds)
    return [(seed, str(violation)) for seed, violation in found if violation is not None]


def first_found(seeds: range) -> int:
    """The first seed that breaks a law."""
    for seed in seeds:
        if found := failures((seed,)):
            print(f"seed {seed}: {found[0][1][:200]}")
            return 1
    print("no seed")
    return 0


def find(words: list[str]) -> int:
    """Plant each mistake in a process of its own; how many were not found."""
    chosen = [mistake for mistake in MISTAKES if not words or any(word in mistake.name for word in words)]
    missed = 0
    for mistake in chosen:
        command = [sys.executable, "-m", "tests.simulation", f"0:{MOST_SEEDS}", "--stop", "--plant", mistake.name]
        done = subprocess.run(command, capture_output=True, text=True)
        missed += done.returncode != 1 or not done.stdout.startswith("seed")
        print(f"{mistake.name}: {done.stdout.strip() or done.stderr[-500:]}", flush=True)
    print(f"{missed} of {len(chosen)} mistakes are not found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
