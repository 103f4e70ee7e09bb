"""ShardedALS on the devices that JAX finds, and on virtual ones of the CPU, beside ImplicitALS in the same run.

Each part runs in a process of its own, since JAX counts its devices once:

* layout: bytes that each of 1, 2, 4 and 8 devices holds and exchanges, and padding, on NCF ML-1M and on a graph like the
  web with a million links;
* speed: seconds per epoch at rank 64, in turns with the compiled ImplicitALS; where they go; FLOP/s against a product of
  matrices on the same device;
* agreement: 1, 2 and 8 virtual devices, and ImplicitALS, from the same start;
* quality: HR@10 on NCF ML-1M at rank 64 with tables of float32 and of bfloat16;
* long-row: a row of 100,000 entries in batches of 512 x 32, against a solution in float64;
* links: Recall@20 of links of new nodes beside popularity, all settings the defaults.

    python benchmarks/accelerators.py [part ...]      # CODED_ALS_DATA=folder with ncf-ml-1m
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ncf import NCFBenchmark, evaluate_ncf, load_ncf
from scipy import sparse

from coded_als import ImplicitALS, ShardedALS
from coded_als.data import load_ratings
from coded_als.data.splits import holdout_users
from coded_als.evaluation import evaluate_strong

DATA = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RANK, TURNS = 64, 3
# chosen on the training part: benchmarks/tuning/baselines.py
TUNED: dict[str, Any] = {"regularization": 0.005, "unobserved_weight": 0.2, "iterations": 16}
GRAPH = "synthetic-graph:nodes=100000"


def ncf() -> NCFBenchmark:
    return load_ncf(DATA / "ncf-ml-1m" / "ncf_ml1m.npz")


def training(matrix: sparse.csr_array, devices: int, equations: Any, weight: float = 0.1) -> Any:
    """What `ShardedALS` makes of a matrix before the first epoch."""
    from coded_als.sharded.devices import mesh_of
    from coded_als.sharded.epochs import Training
    from coded_als.sharded.objectives import Implicit

    matrix = sparse.csr_array(matrix, dtype=np.float64)
    return Training(matrix, Implicit(0.005, weight, 1.0), equations, mesh_of(devices), "float32", 512, 32)


def layout() -> None:
    from coded_als.sharded.equations import Equations

    for name, matrix in (("NCF ML-1M", ncf().train.matrix), (GRAPH, load_ratings(GRAPH).matrix)):
        print(f"{name}: {matrix.shape[0]} x {matrix.shape[1]}, {matrix.nnz} entries, rank {RANK}")
        for devices in (1, 2, 4, 8):
            found = training(matrix, devices, Equations(RANK, weight=0.1)).layout
            print(
                f"  {devices} devices: each holds {found.tables / 2**20:7.2f} MiB of tables and "
                f"{found.batches / 2**20:6.2f} of batches, exchanges {found.exchanged / 2**20:7.1f} an epoch; "
                f"padding {found.padding[0]:.3f} and {found.padding[1]:.3f} (bar 1.3)",
                flush=True,
            )


def speed() -> None:
    import jax

    from coded_als.sharded.equations import Equations

    device, devices, matrix = jax.devices()[0], len(jax.devices()), ncf().train.matrix
    peak = matrix_products(device)
    print(f"{devices} x {device.device_kind} ({device.platform}), products of matrices at {peak / 1e9:.0f} GFLOP/s")
    references = {solver: ImplicitALS(RANK, iterations=2, solver=solver) for solver in ("cholesky", "cg")}
    for solver, steps in (("cholesky", 0), ("cg", 16), ("cg", 3)):
        equations = Equations(RANK, weight=0.1, solver=solver, cg_steps=max(steps, 1))
        runs = Epochs(training(matrix, devices, equations).compiled())
        turns = np.array(
            [
                (runs.epoch(), *(one.fit(matrix).history_[-1].seconds for one in references.values()))
                for _ in range(TURNS)
            ]
        )
        mine, *theirs = np.median(turns, axis=0)
        ratio, beside_cg = (np.median(turns[:, 0] / turns[:, column]) for column in (1, 2))
        flops = 4 * matrix.nnz * RANK * (RANK + 1) + sum(matrix.shape) * (
            RANK**3 / 3 + 2 * RANK**2 if solver == "cholesky" else 2 * (steps + 1) * RANK**2
        )
        print(
            f"  {solver}{f', {steps} steps' if steps else ''}: {mine:.2f} s an epoch, ImplicitALS {theirs[0]:.2f}, and with "
            f"cg {theirs[1]:.2f}; ratio {ratio:.1f} (bar 6), and {beside_cg:.1f}; {flops / mine / 1e9:.1f} GFLOP/s, "
            f"{flops / mine / peak:.0%} of the products'"
        )
        fetched, summed, solved = runs.parts()
        print(
            f"    fetching rows {fetched:.2f} s, Gram matrices {summed:.2f}, solutions and the rest {solved:.2f}",
            flush=True,
        )


class Epochs:
    """Epochs of a training, timed."""

    def __init__(self, made: Any) -> None:
        self.made, rng = made, np.random.default_rng(0)
        self.users, self.items = (
            made.put(side, rng.standard_normal((side.placement.rows, made.width)) * 0.1)
            for side in (made.users, made.items)
        )

    def epoch(self) -> float:
        started = time.perf_counter()
        self.users, self.items, _ = self.made.epoch(self.users, self.items)
        return time.perf_counter() - started

    def parts(self) -> tuple[float, float, float]:
        """Seconds of an epoch in fetching, in summing up, and in all else: programs that stop early."""
        whole = min(self.epoch() for _ in range(2))
        fetched, summed = (sum(self._stopped(stop, *one) for one in self._sides()) for stop in ("fetched", "summed"))
        return fetched, summed - fetched, whole - summed

    def _sides(self) -> tuple[Any, Any]:
        return (self.made.users, self.items), (self.made.items, self.users)

    def _stopped(self, stop: str, side: Any, fixed: Any) -> float:
        import jax
        import jax.numpy as jnp
        from jax.sharding import PartitionSpec

        import coded_als.sharded.equations as program
        from coded_als.sharded.devices import AXIS

        def local(fixed: Any, groups: Any) -> Any:
            found = []
            for shape, batches in zip(side.shapes, groups, strict=True):

                def body(_: None, batch: Any, shape: Any = shape) -> Any:
                    factors = program._fetch(fixed, batch.sends, batch.entries)
                    if stop == "fetched":
                        return None, factors.sum()
                    valid = (batch.entries < shape.devices * shape.sent).astype(jnp.float32)
                    grams, rights = program._sums(shape, factors, valid, batch.owners)
                    return None, grams.sum() + rights.sum()

                with jax.default_matmul_precision("highest"):
                    found.append(jax.lax.scan(body, None, batches)[1])
            return jnp.concatenate(found)

        sharded = PartitionSpec(AXIS)
        mapped = jax.shard_map(local, mesh=self.made.mesh, in_specs=(sharded, sharded), out_specs=sharded)
        run = jax.jit(mapped)
        return fastest(lambda: run(fixed, side.operands).block_until_ready())


def matrix_products(device: Any, order: int = 2048) -> float:
    """FLOP/s of float32 products, with all its digits."""
    import jax
    import jax.numpy as jnp

    one = jax.device_put(np.ones((order, order), np.float32), device)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    return 2 * order**3 / fastest(lambda: product(one).block_until_ready())


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of three calls, compiled before."""
    call()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def agreement() -> None:
    matrix = ncf().train.matrix[:1000]
    settings: dict[str, Any] = {"rank": 16, "iterations": 4}
    fits = {devices: ShardedALS(devices=devices, **settings).fit(matrix) for devices in (1, 2, 8)}
    reference = ImplicitALS(**settings).fit(matrix)
    for name, model in (("2 devices", fits[2]), ("8 devices", fits[8]), ("ImplicitALS", reference)):
        factors = max(
            float(np.abs(getattr(model, side) - getattr(fits[1], side)).max())
            for side in ("user_factors_", "item_factors_")
        )
        objective = max(
            abs(a.objective / b.objective - 1) for a, b in zip(model.history_, fits[1].history_, strict=True)
        )
        print(f"  {name} against 1 device: factors differ by {factors:.1e}, objectives by {objective:.1e}")


def quality() -> None:
    benchmark = ncf()
    for dtype in ("float32", "bfloat16"):
        model = ShardedALS(RANK, table_dtype=dtype, solver="cg", cg_steps=16, **TUNED).fit(benchmark.train.matrix)
        hits, gain = evaluate_ncf(model.predict_pairs, benchmark)
        print(f"  {dtype}: HR@10 {hits:.4f} (bar .7190), NDCG@10 {gain:.4f}", flush=True)


def long_row() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(1, 200, 100_000), rng.integers(0, 100_000, 100_000)
    ones = np.ones(200_000)
    matrix = sparse.csr_array(
        (ones, (np.append(np.zeros(100_000, int), rows), np.append(np.arange(100_000), columns))), (200, 100_000)
    )
    model = ShardedALS(16, iterations=1, batch_pieces=512, piece_length=32).fit(matrix)
    items = model.item_factors_.astype(float)
    gram = 1.1 * items.T @ items + 0.005 * (100_000 + 0.1 * 100_000) * np.eye(16)
    exact = np.linalg.solve(gram, items.sum(axis=0))
    worst = np.abs(model.user_factors_[0] - exact).max() / np.abs(exact).max()
    print(f"  a row of 100,000 entries is {worst:.1e} of its largest factor away from the solution in float64")


def links() -> None:
    for seed in range(3):
        data = load_ratings(f"synthetic-graph:nodes=10000,seed={seed}")
        train, _ = holdout_users(data)
        mine, theirs = (evaluate_strong(model.fit(train.matrix), data) for model in (ShardedALS(), ImplicitALS()))
        assert mine.popularity is not None
        print(
            f"  seed {seed}: Recall@20 {mine.recall[20]:.4f}, ImplicitALS {theirs.recall[20]:.4f} (bar: within .005), "
            f"popularity {mine.popularity[20]:.4f}, {mine.recall[20] / mine.popularity[20]:.1f} times (bar 3)",
            flush=True,
        )


PARTS = {
    "layout": (layout, 8),
    "speed": (speed, 0),
    "agreement": (agreement, 8),
    "quality": (quality, 0),
    "long-row": (long_row, 2),
    "links": (links, 0),
}


def main(chosen: list[str]) -> None:
    if len(chosen) == 2 and chosen[0] == "--in-this-process":
        PARTS[chosen[1]][0]()
        return
    for name in chosen or PARTS:
        virtual = PARTS[name][1]
        environment = dict(os.environ)
        if virtual:
            environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={virtual}"}
        print(f"{name}" + (f", on {virtual} virtual devices of the CPU" if virtual else ""), flush=True)
        subprocess.run([sys.executable, __file__, "--in-this-process", name], env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
