"""Workers that lie: are they named, is anybody else blamed, how small a lie is noticed, and what does looking cost?

    python benchmarks/liars.py                       # everything, in full
    python benchmarks/liars.py named cost --trials 100

named: fits on 24 workers, 12 of which suffice, while up to 12 send noise of 1e-3, one wrong entry, the wrong sign,
products with a stale share, NaN, or their response to another round. surplus: one liar more. blamed: honest responses
on hostile data, for every kernel of the algorithm. noticed: which part of smaller lies is noticed. cost: of a round at
l = 6000, d = 32 and 30 workers, with and without verification in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import sparse

from coded_als import CodedALS, LocalCluster
from coded_als.als.products import RoundLog, StoredProduct
from coded_als.baselines.half_step import Reading
from coded_als.cluster import Round, all_of
from coded_als.cluster.held import HeldArrays
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.verification import CHECKS, RoundCheck, VerifiedCluster
from coded_als.codes import parse_code
from coded_als.errors import CodedALSError, NotEnoughWorkers
from coded_als.kernels import KERNELS, run_to_end

WORKERS, THRESHOLD = 24, 12
RATINGS = np.random.default_rng(0).standard_normal((120, 80))
# how the work is spread, and how many liars that survives
FITS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"code": "systematic:p=12"}, WORKERS - THRESHOLD),
    ({"code": "systematic:p=12", "precomputation": "coded"}, WORKERS - THRESHOLD),
    ({"code": "systematic:p=12,pieces=8"}, WORKERS - THRESHOLD),
    ({"code": "systematic:p=12,pieces=8", "precomputation": "coded"}, WORKERS - THRESHOLD),
    ({"code": "entangled:h=4"}, WORKERS - THRESHOLD),
    ({"code": "entangled:h=4", "protocol": "paper", "solver": "als", "precomputation": "coded"}, WORKERS - THRESHOLD),
)
# any 12 of 24 decode, a few of them with a digit less than asked for by default
DECODING_TOLERANCE = 1e-9
TOLERANCE, NOISE = 1e-8, 1e-3
COST_LENGTH, COST_COLUMNS, COST_WORKERS, COST_ROUNDS, COST_WANTED = 6000, 32, 30, 40, 1.10


class Liars(HeldArrays):
    """Workers of the calling process, some of which lie from some round on."""

    def __init__(self, workers: int, kinds: dict[int, str], generator: np.random.Generator) -> None:
        super().__init__(workers)
        self.kinds, self.lied = kinds, set[int]()
        self._generator = generator
        self._last: dict[tuple[int, str, str], tuple[Any, ...]] = {}
        self._stale: dict[tuple[int, str], Any] = {}

    def store(self, name: str, shares: Any) -> None:
        shares = list(shares)
        for worker in range(len(shares)):
            # what it held under this name before, or, for the first one, somebody else's
            self._stale[worker, name] = self._memory[worker].get(name, shares[worker - 1])
        super().store(name, shares)

    def compute(self, worker: int, round: Round) -> tuple[Any, ...]:
        right = super().compute(worker, round)
        key = worker, round.kernel, round.label
        before, self._last[key] = self._last.get(key, right), right
        kind = self.kinds.get(worker)
        lie = right if kind is None else self._lie(kind, worker, round, right, before)
        if not all(np.array_equal(told, known) for told, known in zip(lie, right, strict=True)):
            self.lied.add(worker)
        return lie

    def _lie(self, kind: str, worker: int, round: Round, right: tuple[Any, ...], before: tuple[Any, ...]) -> Any:
        if kind == "replay":
            return before if [array.shape for array in before] == [array.shape for array in right] else right
        if kind == "stale":
            stored = [self._stale.get((worker, name), self._memory[worker][name]) for name in round.operands]
            payload = round.payloads[worker] if round.payloads is not None else ()
            shapes = [self._memory[worker][name].shape for name in round.operands]
            same = [array.shape for array in stored] == shapes
            return run_to_end(KERNELS[round.kernel](*stored, *payload)) if same else right
        return tuple(self._spoilt(kind, array) for array in right)

    def _spoilt(self, kind: str, array: Any) -> Any:
        size = np.linalg.norm(array) / np.sqrt(array.size)
        if kind == "noise":
            return array + NOISE * size * self._generator.standard_normal(array.shape)
        if kind == "sign":
            return -array
        spoilt = array.copy()
        place = tuple(self._generator.integers(array.shape))
        spoilt[place] = np.nan if kind == "nan" else spoilt[place] + NOISE * size
        return spoilt


KINDS = ("noise", "entry", "sign", "stale", "nan", "replay")


def lying_cluster(kinds: dict[int, str], generator: np.random.Generator) -> tuple[InlineCluster, Liars]:
    cluster = InlineCluster(WORKERS, "exp:mean=10ms", int(generator.integers(2**31)))
    cluster._arrays = liars = Liars(WORKERS, kinds, generator)
    return cluster, liars


def named(trials: int, generator: np.random.Generator) -> bool:
    """Fits with up to as many liars as can be left out."""
    expected = {index: fit(parameters, InlineCluster(WORKERS)).objective_ for index, (parameters, _) in enumerate(FITS)}
    tally: Counter[str] = Counter()
    lies: Counter[str] = Counter()
    for trial in range(trials):
        index = trial % len(FITS)
        parameters, most = FITS[index]
        chosen = generator.choice(WORKERS, generator.integers(1, most + 1), replace=False)
        kinds = {int(worker): str(generator.choice(KINDS)) for worker in chosen}
        cluster, liars = lying_cluster(kinds, generator)
        try:
            model = fit(parameters, cluster)
        except CodedALSError as error:
            tally[f"{type(error).__name__}: {error}"] += 1
            continue
        lies.update(kinds[worker] for worker in liars.lied)
        off = abs(model.objective_ / expected[index] - 1)
        right = "right" if off <= TOLERANCE else f"wrong by {off:.0e}"
        tally["all named, result right" if set(model.left_out_) == liars.lied and right == "right" else right] += 1
    show(f"{trials} fits with 1 to 12 liars of 24 (lies told: {dict(lies)})", tally)
    return tally["all named, result right"] == trials


def surplus(trials: int, generator: np.random.Generator) -> bool:
    """Fits with one liar too many: 13 of 24, all of whom lie about everything."""
    tally: Counter[str] = Counter()
    for _ in range(trials):
        chosen = generator.choice(WORKERS, WORKERS - THRESHOLD + 1, replace=False)
        cluster, _ = lying_cluster({int(worker): "sign" for worker in chosen}, generator)
        try:
            fit(FITS[0][0], cluster)
            tally["no error"] += 1
        except NotEnoughWorkers as error:
            names = ", ".join(map(str, sorted(chosen)))
            says = f"found wrong do not count (worker {names})" in str(error)
            tally["an error that names all 13" if says else str(error)] += 1
    show(f"{trials} fits with 13 liars", tally)
    return tally["an error that names all 13"] == trials


def fit(parameters: dict[str, Any], cluster: InlineCluster) -> CodedALS:
    model = CodedALS(rank=5, iterations=40, verify="freivalds", decoding_tolerance=DECODING_TOLERANCE, **parameters)
    return model.fit(RATINGS, cluster)


def blamed(trials: int, generator: np.random.Generator) -> bool:
    """Honest responses on hostile data: 100 for each trial."""
    checks: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    while checks.total() < 100 * trials:
        size = int(generator.integers(1, 9))
        for round, stored in honest_rounds(generator, size):
            cluster = VerifiedCluster(InlineCluster(size))
            for name, shares in stored.items():
                cluster.store(name, shares)
            checks[round.kernel] += size
            try:
                cluster.run(round, all_of(size))
            except NotEnoughWorkers:
                wrong[round.kernel] += len(cluster._wrong)
    print(f"{checks.total()} honest responses ({dict(checks)}): {wrong.total()} blamed {dict(wrong) or ''}", flush=True)
    return not wrong and set(checks) == set(CHECKS)


def hostile(generator: np.random.Generator, *shape: int) -> Any:
    """Random numbers of a random kind: signed, positive, all equal, of low rank, or of any size."""
    numbers = generator.standard_normal(shape)
    kind = generator.integers(6)
    if kind == 1:
        numbers = np.abs(numbers)
    elif kind == 2:
        numbers = np.full(shape, float(generator.uniform(0.1, 1.0)))
    elif kind == 3:
        numbers = numbers * 10.0 ** generator.uniform(-8, 8, shape[-1])
    elif kind == 4:
        numbers = np.broadcast_to(numbers[..., :1] * generator.standard_normal(shape[-1]), shape).copy()
    elif kind == 5:
        numbers = numbers * 10.0 ** generator.uniform(-200, 140)
    return numbers


def honest_rounds(generator: np.random.Generator, size: int) -> Iterator[tuple[Round, dict[str, list[Any]]]]:
    """A round of every kernel, and the shares that it needs."""
    rows, inner, columns = (int(number) for number in generator.integers(1, [80, 1500, 40]))
    planes = int(generator.integers(1, 3))

    def shares(*shape: int) -> list[Any]:
        return [hostile(generator, planes, *shape) for _ in range(size)]

    def payloads(*lists: list[Any]) -> list[tuple[Any, ...]]:
        return list(zip(*lists, strict=True))

    left, right, wide = shares(rows, inner), shares(inner, columns), shares(inner, rows)
    small = [hostile(generator, columns, columns)] * size
    response, square = (planes, rows, columns), (1, columns, columns)
    yield Round("product", ("a",), payloads(right), response_shapes=(response,)), {"a": left}
    yield Round("product", ("a", "b"), response_shapes=(response,)), {"a": left, "b": right}
    yield Round("transposed_product", ("a",), payloads(right), response_shapes=(response,)), {"a": wide}
    yield Round("inner_product", (), payloads(right), ("b",), (square,)), {}
    yield Round("inner_product", (), payloads(wide, right), response_shapes=((1, rows, columns),)), {}
    yield Round("product_and_gram", ("a",), payloads(right), ("b",), (response, square)), {"a": left}
    yield Round("scaled", ("b",), payloads(small), response_shapes=((planes, inner, columns),)), {"b": right}
    # fits bring the largest entry to about 1; squares of numbers below 1e-160 vanish
    dense = [share[0] / np.abs(share[0]).max() for share in shares(rows, inner)]
    vectors = (hostile(generator, inner, columns),)
    yield Round("gram_product", ("a",), [vectors] * size, response_shapes=((inner, columns),)), {"a": dense}
    yield from honest_sparse_rounds(generator, size)


def honest_sparse_rounds(generator: np.random.Generator, size: int) -> Iterator[tuple[Round, dict[str, list[Any]]]]:
    rows, inner, columns = (int(number) for number in generator.integers(1, [80, 400, 30]))
    blocks = [sparse.random_array((rows, inner), density=0.2, format="csr", rng=generator) for _ in range(size)]
    for block in blocks:
        block.data = np.abs(hostile(generator, max(1, block.nnz)))[: block.nnz].clip(1e-30, 1e30)
    entries = {
        "data": [block.data for block in blocks],
        "indices": [block.indices.astype(np.int32) for block in blocks],
        "indptr": [block.indptr.astype(np.int32) for block in blocks],
    }
    right = (hostile(generator, inner, columns),)
    for kernel, height in (("row_product", rows), ("row_gram_product", inner)):
        yield Round(kernel, tuple(entries), [right] * size, response_shapes=((height, columns),)), entries
    left = hostile(generator, rows, columns), np.zeros((inner, 0))
    yield (
        Round("row_transposed_product", tuple(entries), [left] * size, response_shapes=((inner, columns),)),
        entries,
    )
    ridge = [10.0 ** generator.uniform(-6, 2) * np.ones(rows) for _ in range(size)]
    weights = {"indptr": entries["indptr"], "indices": entries["indices"]}
    # no larger: beyond it the equations themselves are singular in float64
    weights |= {"data": [data.clip(1e-3, 1e3) for data in entries["data"]], "ridge": ridge}
    fixed = generator.standard_normal((inner, columns)) * 10.0 ** generator.uniform(-3, 3)
    gram = fixed.T @ fixed if generator.integers(2) else np.empty((0, 0))
    offset = generator.standard_normal(inner) if generator.integers(2) else np.empty(0)
    # weights of the data's size, targets of any sign
    reading = Reading(c0=0.0, c1=1.0, t0=generator.normal(), t1=generator.normal(), stable=True).as_array()
    payload = fixed, gram, 10.0 ** generator.uniform(-2, 2, columns), offset, reading
    yield Round("solve_block", tuple(weights), [payload] * size, response_shapes=((rows, columns), (2,))), weights


def noticed(trials: int, generator: np.random.Generator) -> bool:
    """Small lies about a product of the size of one worker's in a fit: which part of them is noticed."""
    left, right = generator.standard_normal((1, 125, 1500)), generator.standard_normal((1, 1500, 32))
    for name in ("noise", "entry"):
        parts = []
        for exponent in range(-14, -5):
            found = 0
            for _ in range(trials):
                cluster = VerifiedCluster(InlineCluster(1))
                cluster.store("a", [left])
                response = left @ right
                size = 10.0**exponent * np.linalg.norm(response) / np.sqrt(response.size)
                if name == "noise":
                    response += size * generator.standard_normal(response.shape)
                else:
                    response[tuple(generator.integers(response.shape))] += size
                check = RoundCheck(Round("product", ("a",), [(right,)], response_shapes=(response.shape,)), cluster)
                found += not check(0, (response,))
            parts.append(f"1e{exponent}: {found / trials:.1%}")
        print(f"noticed, {name} of this size relative to a response's entries: " + ", ".join(parts), flush=True)
    return True


def cost(_: int, generator: np.random.Generator) -> bool:
    """A round of the benchmark of codes, verified or not, in turns."""
    data = generator.standard_normal((COST_LENGTH, COST_LENGTH))
    code = parse_code("systematic").bind(COST_WORKERS, COST_LENGTH)
    product = code.for_product(COST_WORKERS)
    with LocalCluster(COST_WORKERS) as cluster:
        verified = VerifiedCluster(cluster)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        started = time.perf_counter()
        cluster.store("D", product.encode_left(data))
        plain_s, started = time.perf_counter() - started, time.perf_counter()
        verified.store("D", product.encode_left(data))
        sketched_s = time.perf_counter() - started
        runs = {
            checked: StoredProduct(RoundLog(workers), product, "D", data.shape, code.tolerance)
            for checked, workers in ((False, cluster), (True, verified))
        }
        looking = timed_checks()
        for index in range(2 * COST_ROUNDS):
            right = generator.standard_normal((COST_LENGTH, COST_COLUMNS))
            started = time.perf_counter()
            runs[bool(index % 2)](right)
            seconds[bool(index % 2)].append(time.perf_counter() - started)
    plain, checked = (statistics.median(seconds[key]) for key in (False, True))
    print(
        f"{code.spec}, l={COST_LENGTH}, d={COST_COLUMNS}, W={COST_WORKERS}: a round takes {1e3 * plain:.1f} ms, verified "
        f"{1e3 * checked:.1f} ms: {checked / plain:.3f} times; of that {1e3 * sum(looking) / COST_ROUNDS:.1f} ms are checks. "
        f"Storing takes {plain_s:.2f} s and {sketched_s:.2f} s",
        flush=True,
    )
    return checked <= COST_WANTED * plain


def timed_checks() -> list[float]:
    """Seconds of every check from now on."""
    seconds: list[float] = []
    check = RoundCheck.__call__

    def timed(self: RoundCheck, worker: int, response: tuple[Any, ...]) -> bool:
        started = time.perf_counter()
        right = check(self, worker, response)
        seconds.append(time.perf_counter() - started)
        return right

    RoundCheck.__call__ = timed  # type: ignore[method-assign]
    return seconds


def show(what: str, tally: Counter[str]) -> None:
    print(what + "".join(f"\n    {count} x {name}" for name, count in tally.most_common()), flush=True)


TRIALS: dict[str, Callable[[int, np.random.Generator], bool]] = {
    "named": named,
    "surplus": surplus,
    "blamed": blamed,
    "noticed": noticed,
    "cost": cost,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*TRIALS, []], help="which trials; all by default")
    parser.add_argument("--trials", type=int, default=1000, help="how many of each (1000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    passed = True
    for name in options.what or TRIALS:
        passed &= TRIALS[name](options.trials, np.random.default_rng(options.seed))
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
