"""Where the time of one iteration goes, for the `paper` and the `fused` protocol, on real workers.

Every encoding and decoding at the master is followed by the bare matrix products that it cannot do without, on the
same operands and at the same moment, so that the ratio holds on a busy machine.

    python benchmarks/iteration.py [--iterations N]
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from coded_als import CodedALS, LocalCluster
from coded_als.cluster import TaskEvent
from coded_als.codes import EntangledPolynomialCode, FactorCode, InnerProductCode
from coded_als.codes.decoding import Decoder

ROWS, COLUMNS, RANK, PARTITIONS, WORKERS = 2400, 1500, 200, 6, 30
WANTED = 1.5


class Stopwatch:
    """Seconds by name in the running iteration, and of the bare products beside them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.bare = 0.0
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any], bare: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its seconds booked under ``name``; those of ``bare`` on the same arguments apart."""

        def wrapper(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return function(*arguments, **options)
            self._inside = True
            try:
                started = time.perf_counter()
                result = function(*arguments, **options)
                self.spent[name] += time.perf_counter() - started
                self.bare += bare(*arguments)
            finally:
                self._inside = False
            return result

        return wrapper


def seconds_of(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def bare_encoding(code: EntangledPolynomialCode, matrix: Any) -> float:
    generator = code._right.reshape(-1, PARTITIONS)
    blocks = np.ascontiguousarray(matrix).reshape(PARTITIONS, -1)
    return seconds_of(lambda: generator @ blocks)


def bare_decoding(code: Any, responses: dict[int, Any], *_: Any) -> float:
    decoder: Decoder = code.decoder(responses)
    stacked = np.concatenate([responses[w].reshape(code.planes, -1) for w in decoder.workers])
    return seconds_of(lambda: decoder.matrix @ stacked)


def instrumented(stopwatch: Stopwatch) -> None:
    """Time the codes' methods from outside: the algorithm itself knows no clock."""
    encode = EntangledPolynomialCode.encode_right
    EntangledPolynomialCode.encode_right = stopwatch.timed(  # type: ignore[method-assign]
        "encode", lambda code, matrix: list(encode(code, matrix)), bare_encoding
    )
    for code in (EntangledPolynomialCode, InnerProductCode, FactorCode):
        code.decode = stopwatch.timed("decode", code.decode, bare_decoding)  # type: ignore[method-assign]


class RoundTimes:
    """Sending and waiting of the rounds, from the events of their tasks."""

    def __init__(self, cluster: LocalCluster, stopwatch: Stopwatch) -> None:
        self._sent: dict[int, float] = defaultdict(float)
        self._cluster, self._stopwatch, self._run = cluster, stopwatch, cluster.run
        cluster.observers.append(self._event)
        cluster.run = self._timed_run  # type: ignore[method-assign]

    def _event(self, event: TaskEvent) -> None:
        if event.sent_s is not None:
            self._sent[event.round_index] = max(self._sent[event.round_index], event.sent_s)

    def _timed_run(self, *arguments: Any) -> Any:
        started, before = self._cluster.seconds(), set(self._sent)
        responses = self._run(*arguments)
        total = self._cluster.seconds() - started
        new = [sent for index, sent in self._sent.items() if index not in before]
        send = max(new, default=started) - started
        self._stopwatch.spent["send"] += send
        self._stopwatch.spent["wait"] += total - send
        return responses


def measure(protocol: str, matrix: Any, iterations: int, stopwatch: Stopwatch) -> tuple[dict[str, float], float]:
    """Median seconds of each part of an iteration, and the median ratio to the bare products."""
    parts: dict[str, list[float]] = defaultdict(list)
    ratios: list[float] = []

    with LocalCluster(WORKERS) as cluster:
        RoundTimes(cluster, stopwatch)

        def iteration(entry: Any) -> None:
            if entry.index > 1:
                coding = stopwatch.spent["encode"] + stopwatch.spent["decode"]
                ratios.append(coding / stopwatch.bare)
                known = {name: stopwatch.spent[name] for name in ("encode", "send", "wait", "decode")}
                rest = entry.seconds - sum(known.values()) - stopwatch.bare
                for name, value in {**known, "algebra": rest, "total": entry.seconds - stopwatch.bare}.items():
                    parts[name].append(value)
            stopwatch.spent.clear()
            stopwatch.bare = 0.0

        # a tolerance of 0 never stops early: the problem itself converges in two iterations
        CodedALS(
            RANK, partitions=PARTITIONS, solver="als", protocol=protocol, iterations=iterations, tolerance=0.0,
            precomputation="local",
        ).fit(matrix, cluster, callback=iteration)  # fmt: skip
    return {name: median(values) for name, values in parts.items()}, median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--iterations", type=int, default=15)
    iterations = parser.parse_args().iterations
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((ROWS, RANK)) @ rng.standard_normal((COLUMNS, RANK)).T
    matrix += 0.1 * rng.standard_normal((ROWS, COLUMNS))
    print(
        f"m={ROWS}, n={COLUMNS}, d={RANK}, h={PARTITIONS}, W={WORKERS}; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; median milliseconds of an iteration"
    )
    stopwatch = Stopwatch()
    instrumented(stopwatch)
    results = {protocol: measure(protocol, matrix, iterations, stopwatch) for protocol in ("paper", "fused")}
    names = ("encode", "send", "wait", "decode", "algebra", "total")
    print(f"{'':8}" + "".join(f"{name:>9}" for name in names) + "   encode + decode / bare products")
    for protocol, (parts, ratio) in results.items():
        cells = "".join(f"{1e3 * parts[name]:9.1f}" for name in names)
        print(f"{protocol:8}{cells}   {ratio:.2f} (wanted <= {WANTED})")
    speedup = results["paper"][0]["total"] / results["fused"][0]["total"]
    print(f"fused is {speedup:.1f} x as fast as paper")


if __name__ == "__main__":
    main()
