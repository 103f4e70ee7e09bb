"""Mistakes in the clusters, the worker processes and their delays."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CLUSTERS = (
    Mutant(
        "in the calling process only responded tasks leave an event",
        "coded_als/cluster/inline.py",
        "        for event in open_tasks:\n            self._tell(replace(event, status=status))\n",
        "        del open_tasks, status\n",
        ("tests/master/test_cluster_laws.py::test_every_task_leaves_one_event_whatever_became_of_it",),
    ),
)

PROCESSES = (
    Mutant(
        "unencrypted off loopback",
        "coded_als/master/remote.py",
        "if not is_on_this_machine(bind):",
        "if False:",
        ("tests/master/test_remote.py::test_others_than_this_machine_are_listened_to_with_keys_alone",),
    ),
    Mutant(
        "what workers are to keep lies in memory that the next round overwrites",
        "coded_als/master/payloads.py",
        "self._memory = None if round.keep else memory",
        "self._memory = memory",
        ("tests/master/test_payloads.py::test_what_workers_are_to_keep_is_sent",),
    ),
    Mutant(
        "everybody writes to shared memory",
        "coded_als/wire/memory.py",
        "_SEALS = 0x1 | 0x2 | 0x4 | 0x10",
        "_SEALS = 0x1 | 0x2 | 0x4",
        ("tests/wire/test_memory.py::test_nobody_else_writes_to_it_or_takes_any_of_it_away",),
    ),
    Mutant(
        "whatever has the number of a descriptor is opened",
        "coded_als/wire/memory.py",
        'if not os.readlink(path).startswith(f"/memfd:{name} "):',
        "if not os.readlink(path):",
        ("tests/wire/test_memory.py::test_what_is_not_this_memory_is_not_opened",),
    ),
    Mutant(
        "a lost worker keeps its open stores",
        "coded_als/master/membership.py",
        "            worker.open_stores.clear()\n",
        "",
        ("tests/master/test_membership.py",),
    ),
    Mutant(
        "a refused task leaves what the worker is thought to hold",
        "coded_als/master/rounds.py",
        "            worker.held.clear()\n",
        "",
        ("tests/master/test_local.py::test_a_worker_refuses_operands_of_another_version",),
    ),
    Mutant(
        "a worker that refuses for ever is asked for ever",
        "coded_als/master/rounds.py",
        "MOST_REFUSALS = 2",
        "MOST_REFUSALS = 10**9",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "dead workers are hoped for",
        "coded_als/master/rounds.py",
        'finite = (worker.id for worker in lost if current.delays_s[worker.id] < float("inf"))',
        "finite = (worker.id for worker in lost)",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "a round settles before those who can respond have done so",
        "coded_als/master/running.py",
        "settled = self.settled_for is not None and self.settled_for.issubset(self.results)",
        "settled = self.settled_for is not None and len(self.results) >= self.until.needed",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "a reconnection is not treated as a loss",
        "coded_als/master/membership.py",
        "            self._tell_lost([worker])\n        worker.alive",
        "            pass\n        worker.alive",
        ("tests/master/test_membership.py",),
    ),
    Mutant(
        "a worker never gives up a dead master",
        "coded_als/worker/loop.py",
        "if away_s > GIVE_UP_AFTER_S:",
        "if False:",
        ("tests/master/test_remote.py::test_a_worker_gives_up_a_master_that_died",),
    ),
)

DELAYS = (
    Mutant(
        "1min is read as 6 s",
        "coded_als/delays/spec.py",
        '"min": 60.0',
        '"min": 6.0',
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "1us is read as 10 us",
        "coded_als/delays/spec.py",
        '"us": 1e-6',
        '"us": 1e-5',
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "normal delays below zero",
        "coded_als/delays/models.py",
        "return np.maximum(seconds, 0.0), None",
        "return seconds, None",
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "slow and dead pick the same workers",
        "coded_als/delays/models.py",
        "return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None",
        "return np.where(_chosen(uniforms(-1), self.n), np.inf, 0.0), None",
        ("tests/delays/test_delays.py",),
    ),
)
