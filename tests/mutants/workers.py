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
