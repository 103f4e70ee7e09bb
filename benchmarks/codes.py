"""What the codes cost and what they save, on real workers.

``speed``: l = 6000, d = 32, W = 30, no delays. Rounds of the systematic code with p = 21 against those of the entangled
code cut 6 x 6, which waits for as many; against the bare matrix products of the same shapes, shared out over the cores
(those of all W workers, which all compute, and those of the p that are needed); and encoding D against the same matrix
products alone. The Gram product D = A^T A likewise.

``memory``: coded and replicated rounds with the same memory per worker, under five delay models and five seeds.

    python benchmarks/codes.py [speed|memory] [--repeats N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als import CodedOperator, LocalCluster
from coded_als.als.products import RoundLog, StoredProduct
from coded_als.codes import parse_code
from coded_als.errors import NotEnoughWorkers

LENGTH, COLUMNS, WORKERS = 6000, 32, 30
SYSTEMATIC, ENTANGLED = "systematic:p=21", "entangled:h=6"
ROUNDS = 7

CREW, SIDE, WIDTH, STRAGGLING_ROUNDS = 20, 600, 16, 12
COPIES, CODED = "replicated:copies=2", "systematic:p=10"
DELAYS = {
    "mild exp": "exp:mean=20ms",
    "heavy pareto": "pareto:scale=5ms,alpha=1.2",
    "bimodal 1 s": "bimodal:p=0.1,fast=5ms,slow=1s",
    "Markov bursts": "markov:fast=5ms,slow=1s,enter=0.05,leave=0.3",
    "10 % dead": "exp:mean=20ms+dead:n=2",
}
SEEDS = 5


def seconds_of(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _multiply(pipe: Connection, count: int) -> None:
    """Bare products of the systematic code's shapes, whenever asked."""
    rng = np.random.default_rng(0)
    shares = [rng.standard_normal((-(-LENGTH // 21), LENGTH)) for _ in range(count)]
    right = rng.standard_normal((LENGTH, COLUMNS))
    with threadpool_limits(1):
        pipe.send(None)
        while pipe.recv():
            for share in shares:
                share @ right
            pipe.send(None)


@contextmanager
def bare_products(count: int) -> Iterator[Callable[[], float]]:
    """Seconds of so many products on all cores at once."""
    cores = os.cpu_count() or 1
    pipes = []
    for core in range(cores):
        ours, theirs = multiprocessing.Pipe()
        part = count // cores + (core < count % cores)
        multiprocessing.Process(target=_multiply, args=(theirs, part), daemon=True).start()
        ours.recv()
        pipes.append(ours)

    def once() -> float:
        started = time.perf_counter()
        for pipe in pipes:
            pipe.send(True)
        for pipe in pipes:
            pipe.recv()
        return time.perf_counter() - started

    yield once
    for pipe in pipes:
        pipe.send(False)


def stored_product(cluster: LocalCluster, spec: str, matrix: Any) -> StoredProduct:
    """The product with a matrix that the workers hold in this code."""
    code = parse_code(spec).bind(WORKERS, LENGTH)
    product = code.for_product(WORKERS)
    cluster.store("D", product.encode_left(matrix))
    return StoredProduct(RoundLog(cluster), product, "D", (LENGTH, LENGTH), code.tolerance)


def rounds(repeats: int) -> None:
    """Rounds of both codes and the bare products, in alternating blocks."""
    rng = np.random.default_rng(0)
    matrix, right = rng.standard_normal((LENGTH, LENGTH)), rng.standard_normal((LENGTH, COLUMNS))
    found: dict[str, list[float]] = {"gain": [], "all": [], "needed": [], "round": []}
    with (
        bare_products(WORKERS) as of_all,
        bare_products(21) as of_needed,
        LocalCluster(WORKERS) as first,
        LocalCluster(WORKERS) as second,
    ):
        systematic = stored_product(first, SYSTEMATIC, matrix)
        entangled = stored_product(second, ENTANGLED, matrix)
        for _ in range(repeats):
            seconds = []
            for product in (systematic, entangled):
                # the first round of a block finds the workers asleep
                seconds.append(median([seconds_of(lambda p=product: p(right)) for _ in range(ROUNDS)][1:]))
                time.sleep(0.3)  # the stragglers of one do not slow the other
            found["round"].append(seconds[0])
            found["gain"].append(seconds[1] / seconds[0])
            found["all"].append(seconds[0] / median(of_all() for _ in range(3)))
            found["needed"].append(seconds[0] / median(of_needed() for _ in range(3)))
    print(f"{SYSTEMATIC}: {1e3 * median(found['round']):.0f} ms a round")
    print(f"  {median(found['gain']):.2f} times as fast as {ENTANGLED} (wanted >= 1.8)")
    print(f"  {median(found['all']):.2f} times the bare products of all {WORKERS} workers (wanted <= 1.5)")
    print(f"  {median(found['needed']):.2f} times those of the 21 that are needed")


def encoding(repeats: int) -> None:
    """Encoding of D against the bare matrix product that it cannot do without, one BLAS thread as beside a cluster."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((LENGTH, LENGTH))
    systematic: Any = parse_code(SYSTEMATIC).for_product(WORKERS)
    entangled = parse_code(ENTANGLED).for_product(WORKERS)
    padded = np.zeros((21 * systematic.left_shape((LENGTH, LENGTH))[1], LENGTH))
    padded[:LENGTH] = matrix
    rows = padded.reshape(21, -1)
    blocks = np.ascontiguousarray(matrix.reshape(6, 1000, 6, 1000).transpose(0, 2, 1, 3)).reshape(36, -1)
    cases = {
        SYSTEMATIC: (systematic, systematic.parities, rows),
        ENTANGLED: (entangled, rng.standard_normal((2 * WORKERS, 36)), blocks),
    }
    with threadpool_limits(1):
        for spec, (code, generator, operand) in cases.items():
            ratios, spent = [], []
            for _ in range(repeats + 1):
                spent.append(seconds_of(lambda c=code: [None for _ in c.encode_left(matrix)]))
                ratios.append(spent[-1] / seconds_of(lambda g=generator, o=operand: g @ o))
            print(
                f"encoding D, {spec}: {1e3 * median(spent[1:]):.0f} ms, {median(ratios[1:]):.2f} times the product alone "
                "(wanted <= 1.5)"
            )


def grams() -> None:
    """D = A^T A: what a worker of either code computes and is sent, by counting."""
    for spec in (SYSTEMATIC, "entangled:h=6"):
        code = parse_code(spec).for_gram(WORKERS)
        left, right = code.left_shape((LENGTH, LENGTH)), code.right_shape((LENGTH, LENGTH))
        work = np.prod(left) * np.prod(right) / (left[2] * LENGTH**3)
        words = (np.prod(left) + np.prod(right)) / LENGTH**2
        print(
            f"Gram product, {spec}: needs {code.recovery_threshold} of {WORKERS}, a worker does {work:.1%} of the "
            f"multiplications and holds {words:.1%} of A"
        )


def memory() -> None:
    """Seconds per round of both under every delay model, seed by seed."""
    rng = np.random.default_rng(0)
    matrix, right = rng.standard_normal((SIDE, SIDE)), rng.standard_normal((SIDE, WIDTH))
    share = parse_code(CODED).share(CREW)
    assert parse_code(COPIES).share(CREW) == share
    print(
        f"W = {CREW}, {share:.0%} of D on each worker; milliseconds per round, median of {SEEDS} seeds (least to most)"
    )
    print(f"{'delays':16}{COPIES:>28}{CODED:>28}   coded / replicated")
    for name, delays in DELAYS.items():
        times: dict[str, list[float]] = {COPIES: [], CODED: []}
        for seed in range(SEEDS):
            for spec in (COPIES, CODED):
                times[spec].append(round_s(spec, delays, seed, matrix, right))
        ratios = [coded / copied for coded, copied in zip(times[CODED], times[COPIES], strict=True)]
        cells = "".join(f"{_span(times[spec]):>28}" for spec in (COPIES, CODED))
        print(
            f"{name:16}{cells}   {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; wanted <= 1)", flush=True
        )


def round_s(spec: str, delays: str, seed: int, matrix: Any, right: Any) -> float:
    """Mean seconds of a round; infinite where the workers that live do not suffice."""
    with LocalCluster(CREW, delays, seed) as cluster:
        try:
            operator = CodedOperator(matrix, cluster, code=spec)
            return seconds_of(lambda: [operator @ right for _ in range(STRAGGLING_ROUNDS)]) / STRAGGLING_ROUNDS
        except NotEnoughWorkers:
            return float("inf")


def _span(seconds: list[float]) -> str:
    return f"{1e3 * median(seconds):.1f} ({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["speed", "memory"], help="one of the two (default: both)")
    parser.add_argument("--repeats", type=int, default=9, help="alternating blocks (default 9)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.what != "memory":
        rounds(options.repeats)
        encoding(options.repeats)
        grams()
    if options.what != "speed":
        memory()


if __name__ == "__main__":
    main()
