"""The mistakes that are planted: each left the whole suite green once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CODES = (
    Mutant(
        "streaming holds all shares",
        "coded_als/codes/product.py",
        "batch = max(1, STREAM_BYTES // max(1, generator.shape[1] * flat[0].nbytes))",
        "batch = max(1, len(generator))",
        ("tests/codes",),
    ),
    Mutant(
        "copies of a block on adjacent workers",
        "coded_als/codes/replication.py",
        "self._block_of = np.arange(workers) % blocks",
        "self._block_of = np.minimum(np.arange(workers) // copies, blocks - 1)",
        ("tests/codes",),
    ),
    Mutant(
        "operation counts of products without a code are doubled",
        "coded_als/codes/product.py",
        "return float(planes * right_planes * rows * inner * width)",
        "return float(planes * right_planes * rows * inner * width) * (1 if planes == 2 else 2)",
        ("tests/codes", "tests/experiments/plan"),
    ),
)

ALGORITHM = (
    Mutant(
        "no straggler reserve",
        "coded_als/als/placement.py",
        "STRAGGLER_RESERVE = 0.25",
        "STRAGGLER_RESERVE = 0.0",
        ("tests/als",),
    ),
    Mutant(
        "tolerance on the circle is 1e-6",
        "coded_als/als/placement.py",
        'return 1e-12 if points == "circle" else 1e-8',
        'return 1e-6 if points == "circle" else 1e-8',
        ("tests/als",),
    ),
    Mutant(
        "precomputation='auto' is always local",
        "coded_als/als/phases.py",
        'problem.is_sparse if where == "auto" else where == "local"',
        'True if where == "auto" else where == "local"',
        ("tests/als",),
    ),
    Mutant(
        "CodedOperator ignores its tolerance",
        "coded_als/als/operator.py",
        "tolerance = default_tolerance(points) if decoding_tolerance is None else decoding_tolerance",
        "tolerance = default_tolerance(points)",
        ("tests/als",),
    ),
)

PROCESSES = (
    Mutant(
        "unencrypted off loopback by default",
        "coded_als/master/remote.py",
        "encrypted = not bind.startswith(_ON_THIS_MACHINE)",
        "encrypted = False",
        ("tests/master",),
    ),
    Mutant(
        "a lost worker keeps its open stores",
        "coded_als/master/crew.py",
        "            member.open_stores.clear()\n",
        "",
        ("tests/master",),
    ),
    Mutant(
        "a refused task leaves what the worker is thought to hold",
        "coded_als/master/zeromq.py",
        "            member.held.clear()\n",
        "",
        ("tests/master",),
    ),
    Mutant(
        "a reconnection is not treated as a loss",
        "coded_als/master/crew.py",
        "            self._listener.lost([member])\n        member.alive = True",
        "            pass\n        member.alive = True",
        ("tests/master",),
    ),
    Mutant(
        "a worker never gives up a dead master",
        "coded_als/worker/loop.py",
        "if self._away_since is not None and time.monotonic() - self._away_since > GIVE_UP_AFTER_S:",
        "if False:",
        ("tests/worker", "tests/master"),
    ),
)

DELAYS = (
    Mutant(
        "1min is read as 6 s",
        "coded_als/delays/spec.py",
        '"min": 60.0',
        '"min": 6.0',
        ("tests/delays",),
    ),
    Mutant(
        "1us is read as 10 us",
        "coded_als/delays/spec.py",
        '"us": 1e-6',
        '"us": 1e-5',
        ("tests/delays",),
    ),
    Mutant(
        "normal delays below zero",
        "coded_als/delays/models.py",
        "return np.maximum(seconds, 0.0), None",
        "return seconds, None",
        ("tests/delays",),
    ),
    Mutant(
        "slow and dead pick the same workers",
        "coded_als/delays/models.py",
        "return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None",
        "return np.where(_chosen(uniforms(-1), self.n), np.inf, 0.0), None",
        ("tests/delays",),
    ),
)

MODELS = (
    Mutant(
        "the unobserved weight is five times as large",
        "coded_als/baselines/implicit.py",
        "return 0.1 if self.unobserved_weight is None else self.unobserved_weight",
        "return 5 * (0.1 if self.unobserved_weight is None else self.unobserved_weight)",
        ("tests/baselines",),
    ),
    Mutant(
        "SGD keeps the random start of unrated users",
        "coded_als/baselines/stochastic.py",
        "        users[np.diff(matrix.indptr) == 0] = 0\n",
        "",
        ("tests/baselines",),
    ),
    Mutant(
        "SGD keeps the random start of unrated items",
        "coded_als/baselines/stochastic.py",
        "        items[np.bincount(matrix.indices, minlength=len(items)) == 0] = 0\n",
        "",
        ("tests/baselines",),
    ),
    Mutant(
        "a diverged ranking model is published",
        "coded_als/baselines/ranking.py",
        "np.array(last if last <= 2 * least else np.inf)",
        "np.array(last)",
        ("tests/baselines",),
    ),
    Mutant(
        "leave_k_out leaves nothing out",
        "coded_als/data/splits.py",
        "    test[order[place >= np.repeat(counts, counts) - k]] = True\n",
        "",
        ("tests/data",),
    ),
)

EXPERIMENTS = (
    Mutant(
        "the 95 % interval is one of 80 %",
        "coded_als/experiments/plan/timing.py",
        "stats.t.ppf(0.975,",
        "stats.t.ppf(0.9,",
        ("tests/experiments/sweep/test_sweep.py",),
    ),
    Mutant(
        "the plan's master computes for nothing",
        "coded_als/experiments/plan/plan.py",
        "return machine.computing_s(scheme.master_operations(workload.size)) + max",
        "return max",
        ("tests/experiments/plan",),
    ),
    Mutant(
        "the plan's link is free",
        "coded_als/experiments/plan/plan.py",
        " + max(0.0, sum(sent)) / machine.bytes_per_second",
        "",
        ("tests/experiments/plan",),
    ),
    Mutant(
        "the plan's start-up computes for nothing",
        "coded_als/experiments/plan/plan.py",
        "startup_s = scheme.startup_operations(size) / machine.multiplications_per_second",
        "startup_s = 0.0",
        ("tests/experiments/plan",),
    ),
    Mutant(
        "the plan's start-up sends for nothing",
        "coded_als/experiments/plan/plan.py",
        "    startup_s += scheme.startup_bytes(size) / machine.bytes_per_second\n",
        "",
        ("tests/experiments/plan",),
    ),
    Mutant(
        "Table I agrees with what is 60 % off",
        "coded_als/experiments/table1/findings.py",
        "AGREEMENT = 0.15",
        "AGREEMENT = 0.6",
        ("tests/experiments/table1/test_table1.py",),
    ),
    Mutant(
        "a report runs a cell",
        "coded_als/experiments/report/report.py",
        "    spec, rows = read_results(folder)\n",
        "    spec, rows = read_results(folder)\n"
        "    from coded_als.cluster.virtual import SimulatedCluster\n    SimulatedCluster(4)\n",
        ("tests/experiments/report",),
    ),
)

COMMANDS = (
    Mutant(
        "doctor finds fault with a sound machine",
        "coded_als/cli/doctor.py",
        "error < 1e-10",
        "error < 1e-30",
        ("tests/cli",),
    ),
    Mutant(
        "doctor is content whatever it finds",
        "coded_als/cli/doctor.py",
        "if not all(finding.ok for finding in findings):",
        "if False:",
        ("tests/cli",),
    ),
    Mutant(
        "demo does not inject its stragglers",
        "coded_als/experiments/demo.py",
        "LocalCluster(WORKERS, delays=DELAYS, seed=seed)",
        "LocalCluster(WORKERS, seed=seed)",
        ("tests/experiments/test_demo.py",),
    ),
)

MUTANTS = (*CODES, *ALGORITHM, *PROCESSES, *DELAYS, *MODELS, *EXPERIMENTS, *COMMANDS)
