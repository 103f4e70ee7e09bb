"""Keys, workers, `measure`, `plan` and its rows as docs/clusters.md has them, on two hosts: network namespaces of this machine.

Each host has four workers, and one of the eight is three times slower by injection. The script prints the findings of
`measure`. Then it plans for each size with the recorded trace, and runs the first five rows on these workers in turns. Bar:
the median of the plan's choice is within 20 % of the best of the five. The eight workers share the cores of this machine, and
`measure` has to find that. The namespaces need root.

    python -m benchmarks.two_hosts [--runs 7] [--sizes 600x400x10,3000x2000x50]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from coded_als.cluster.machine import Machine as Speeds
from coded_als.delays.spec import parse_delays
from coded_als.experiments.plan_report import leading, try_rows
from coded_als.master import RemoteCluster
from coded_als.planner.choice import make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.timing import Workload
from tests.master.network import Machine
from tests.master.test_remote import free_port

WORKERS, SLOW, WITHIN = 8, "slowdown-always:factor=3,n=1", 1.2
PROGRAM = [sys.executable, "-m", "coded_als"]


@contextmanager
def hosts(keys: Path, port: int) -> Iterator[None]:
    """Two namespaces with four workers each, which a loop starts again whenever their master has ended."""
    over = threading.Event()

    def look_after(machine: Machine, worker: int) -> None:
        words = ["worker", "--connect", f"tcp://{machine.gateway}:{port}", "--key-file", keys / f"worker-{worker}.key"]
        while not over.is_set():
            process = machine.start(*PROGRAM, *words)
            while process.poll() is None and not over.wait(0.1):
                pass
            process.kill()
            process.wait()

    with ExitStack() as stack:
        machines = [stack.enter_context(Machine()) for _ in range(2)]
        threads = [threading.Thread(target=look_after, args=(machines[w * 2 // WORKERS], w)) for w in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def measured(keys: Path, address: str, trace: Path) -> Speeds:
    """Print what `measure` finds, and return the speeds that its command gives to `plan`."""
    words = ["measure", "--listen", address, "--keys", keys, "--workers", WORKERS, "--delays", SLOW]
    words += ["--record-delays", trace, "--json"]
    document = json.loads(subprocess.run([*PROGRAM, *map(str, words)], check=True, capture_output=True).stdout)
    print("\n".join(document["findings"]), "", document["command"], "", sep="\n", flush=True)
    return Speeds(
        float(document["command"].split("--speed ")[1].split()[0]),
        document["bytes_per_second"],
        document["latency_seconds"],
        document["message_seconds"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="of each row [7]")
    parser.add_argument("--sizes", default="600x400x10,3000x2000x50", help="ROWSxCOLSxRANK, ...")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        keys, trace, port = Path(folder) / "keys", Path(folder) / "trace.csv", free_port()
        made = [*PROGRAM, "keys", str(keys), "--workers", str(WORKERS)]
        subprocess.run(made, check=True, capture_output=True)
        stack.enter_context(hosts(keys, port))
        address = f"tcp://0.0.0.0:{port}"
        machine = measured(keys, address, trace)
        cluster = stack.enter_context(
            RemoteCluster(address, WORKERS, keys=keys, delays=SLOW, join_timeout_s=60, round_timeout_s=60)
        )
        for text in options.sizes.split(","):
            size = Size(*map(int, text.split("x")))
            workload = Workload(size, parse_delays(f"trace:{trace}"), machine)
            begun = time.perf_counter()
            rows = leading(make_plan(WORKERS, workload))
            print(f"{text}: planned in {time.perf_counter() - begun:.1f} s")
            tried = try_rows(rows, workload, cluster, options.runs, 0)
            medians = [median(one.seconds) if one.seconds else float("inf") for one in tried]
            for one, seconds in zip(tried, medians, strict=True):
                planned = one.candidate.estimate.value
                print(f"  {one.candidate.scheme.label:50} planned {planned:.3f} s, took {seconds:.3f} s {one.refusal}")
            ratio = medians[0] / min(medians)
            print(f"  choice over the best of {len(rows)}: {ratio:.2f} (wanted <= {WITHIN})", flush=True)


if __name__ == "__main__":
    main()
