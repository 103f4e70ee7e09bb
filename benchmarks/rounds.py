"""What a round costs beyond what it must: W = 20 workers, 11 responses needed, 100 kB each way.

Two ratios are printed.

* With injected delays (exponential, mean 20 ms, and 200 ms for one worker in ten): the time of a round over
  the ideal, which is the 11th smallest delay that was drawn for it. Wanted: median at most 1.15. Beside it stands the
  same ratio of the least loop, whose workers wait as long: what is above 1 there is the machine's and ZeroMQ's.
* Without delays: the time of a round over that of the least loop that pyzmq can do, in the same run and
  alternating with it (`benchmarks/bare.py`). Wanted: at most 1.5. It sends the payload to every process; ours lies in
  memory that the workers of one machine share.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
from bare import bare_loop

from coded_als.cluster import Fastest, Round
from coded_als.delays import DelayStream
from coded_als.master import LocalCluster

WORKERS, NEEDED, COLUMNS = 20, 11, 6_400
DELAYS, SEED = "exp:mean=20ms+bimodal:p=0.1,fast=0ms,slow=200ms", 0


def one_round(cluster: LocalCluster, payload: np.ndarray) -> float:
    round = Round("product", ("factor",), [(payload,)] * WORKERS, response_shapes=((1, 2, COLUMNS),))
    return cluster.run(round, Fastest(NEEDED)).elapsed_s


def with_delays(rounds: int) -> tuple[list[float], list[float]]:
    """Time over ideal of each round of the cluster, and of the bare loop."""
    stream = DelayStream(DELAYS, WORKERS, SEED)
    drawn = [stream.next_round().tolist() for _ in range(rounds)]
    ideal_s = [sorted(delays_s)[NEEDED - 1] for delays_s in drawn]
    payload = np.ones((1, 2, COLUMNS))
    with LocalCluster(WORKERS, DELAYS, SEED) as cluster:
        cluster.store("factor", [np.eye(2)[np.newaxis]] * WORKERS)
        ours = [one_round(cluster, payload) for _ in drawn]
    with bare_loop(WORKERS, np.eye(2)) as loop:
        bare = [loop.round(payload.tobytes(), NEEDED, delays_s) for delays_s in drawn]
    return [seconds / ideal for seconds, ideal in zip(ours, ideal_s, strict=True)], [
        seconds / ideal for seconds, ideal in zip(bare, ideal_s, strict=True)
    ]


def without_delays(blocks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Median seconds per round of the bare loop and of the cluster, in alternating blocks."""
    payload = np.ones((1, 2, COLUMNS))
    data = payload.tobytes()
    bare, ours = [], []
    with bare_loop(WORKERS, np.eye(2)) as loop, LocalCluster(WORKERS) as cluster:
        cluster.store("factor", [np.eye(2)[np.newaxis]] * WORKERS)
        for _ in range(blocks):
            bare.append(statistics.median(loop.round(data, NEEDED) for _ in range(rounds)))
            time.sleep(0.05)  # the stragglers of one do not slow the other
            ours.append(statistics.median(one_round(cluster, payload) for _ in range(rounds)))
            time.sleep(0.05)
    return bare, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="rounds with delays (default 100)")
    options = parser.parse_args()
    print(f"W = {WORKERS}, {NEEDED} needed, {16 * COLUMNS / 1e3:.0f} kB each way, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    ours_over, bare_over = map(statistics.median, with_delays(options.rounds))
    print(f"delays {DELAYS}: time / ideal, median {ours_over:.3f} (wanted <= 1.15); of the bare loop {bare_over:.3f}")
    bare, ours = without_delays(blocks=30, rounds=11)
    ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    print(
        f"no delays: bare {statistics.median(bare) * 1e3:.2f} ms, cluster {statistics.median(ours) * 1e3:.2f} ms ",
        end="",
    )
    print(f"per round; ratio, median of {len(bare)} alternating blocks: {ratio:.2f} (wanted <= 1.5)")


if __name__ == "__main__":
    main()
