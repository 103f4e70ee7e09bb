"""Uses of a cluster that are refused, and faults of its users that cost nobody a worker."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from coded_als.cluster import Fastest, Round, TaskEvent, all_of
from coded_als.errors import RoundTimeout, UsageError
from coded_als.master import LocalCluster
from tests.master.processes import all_end_within, is_running
from tests.master.test_local import cluster_of, statuses, value_round


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_copy_is_refused() -> None:
    with cluster_of(1) as (cluster, _):
        copy = os.fork()
        if copy == 0:
            try:
                cluster.run(value_round(1), Fastest(1))
            except UsageError as error:
                os._exit(42 if "forked copy" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 42
        assert cluster.run(value_round(1), Fastest(1)).workers == (0,)


def test_two_threads_at_once_are_refused_and_one_after_the_other_are_not() -> None:
    with cluster_of(2, [0.0, 0.5]) as (cluster, _):
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(len(cluster.run(value_round(2), all_of(2)).workers)))
        thread.start()
        while not cluster._usage._lock.locked():
            pass
        for use in (lambda: cluster.run(value_round(2), Fastest(1)), lambda: cluster.store("x", []), cluster.close):
            with pytest.raises(UsageError, match="one thread at a time"):
                use()
        cluster.drop(["one"])  # put off
        thread.join()
        assert results == [2]
        with pytest.raises(UsageError, match="must be stored"):
            cluster.run(value_round(2), Fastest(1))


def test_an_observer_cannot_use_the_cluster_that_it_observes() -> None:
    with cluster_of(1) as (cluster, _):
        cluster.observers.append(lambda event: cluster.run(value_round(1), Fastest(1)) and None)
        with pytest.raises(UsageError, match="not by its own observers"):
            cluster.run(value_round(1), Fastest(1))
        cluster.observers.pop()
        assert cluster.run(value_round(1), Fastest(1)).workers == (0,)


def fail(event: TaskEvent) -> None:
    raise RuntimeError("observer")


def test_an_observer_that_raises_in_a_round_breaks_nothing() -> None:
    with cluster_of(3) as (cluster, events):
        for _ in range(3):
            cluster.observers.append(fail)
            with pytest.raises(RuntimeError, match="observer"):
                cluster.run(value_round(3), all_of(3))
            cluster.observers.pop()
            assert len(cluster.run(value_round(3), all_of(3)).workers) == 3
    assert len(statuses(events)) == 18


def test_an_observer_that_raises_at_the_end_keeps_nobody_alive() -> None:
    with cluster_of(2, [0.0, 30.0]) as (cluster, _):
        process_ids = [*cluster.process_ids.values(), cluster._fleet.process_id]
        cluster.run(value_round(2), Fastest(1))
        cluster.observers.append(fail)
        with pytest.raises(RuntimeError, match="observer"):
            cluster.close()
        assert not any(map(is_running, process_ids))


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("first_to_close", [0, 1])
def test_blas_has_its_threads_back_after_overlapping_clusters(first_to_close: int) -> None:
    with threadpool_limits(2, "blas"):
        clusters = [LocalCluster(1), LocalCluster(1)]
        assert blas_threads() == {1}
        clusters[first_to_close].close()
        assert blas_threads() == {1}
        clusters[1 - first_to_close].close()
        assert blas_threads() == {2}


def test_a_round_ends_when_all_that_it_needs_are_stopped() -> None:
    with cluster_of(3, [0.0, 0.0, 0.0], round_timeout_s=1.0) as (cluster, events):
        for worker in (0, 2):
            os.kill(cluster.process_ids[worker], signal.SIGSTOP)
        started = time.perf_counter()
        with pytest.raises(
            RoundTimeout, match=r"D has 1 of at least 2 .*Responded: 1\. Silent: 0 \(for \d+ s\), 2"
        ) as caught:
            cluster.run(value_round(3, label="D"), Fastest(2))
        assert 1.0 <= time.perf_counter() - started < 10
        assert caught.value.responded == (1,)
        assert set(caught.value.silent_s) == {0, 2}
        assert min(caught.value.silent_s.values()) >= 1.0
        for worker in (0, 2):
            os.kill(cluster.process_ids[worker], signal.SIGCONT)
        assert len(cluster.run(value_round(3), all_of(3)).workers) == 3
    assert len(statuses(events)) == 6


@pytest.mark.parametrize("given", [{"round_timeout_s": 0.0}, {"round_timeout_s": "1"}, {"startup_timeout_s": -1}])
def test_limits_must_be_numbers_of_seconds(given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        LocalCluster(1, **given)


def test_too_few_file_descriptors_are_refused_with_the_right_remedy() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 60, hard))
    try:
        with pytest.raises(UsageError, match=r"60 workers must have 92 file descriptors; .*ulimit -n \d+"):
            LocalCluster(60)
        with LocalCluster(3) as cluster:
            assert len(cluster.process_ids) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nothing_is_left_of_a_local_cluster() -> None:
    with cluster_of(1) as (cluster, _):
        socket = Path(cluster._link.endpoint.removeprefix("ipc://"))
        assert socket.is_socket()
        assert socket.parent.stat().st_mode & 0o77 == 0
    assert not socket.parent.exists()


def test_what_is_dropped_leaves_the_memory_of_those_that_were_behind_too() -> None:
    kept = Round("product", ("one", "share"), response_shapes=((1, 1, 1),))
    with cluster_of(2, [0.0, 0.0]) as (cluster, _):
        cluster.store("share", [np.ones((1, 1, 1))] * 2)
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        for _ in range(3):
            cluster.run(kept, Fastest(1))
        cluster.drop(["share"])
        assert [cluster._membership.workers[number].untidy for number in (0, 1)] == [False, True]
        os.kill(cluster.process_ids[1], signal.SIGCONT)
        cluster.run(value_round(2), all_of(2))
        assert not cluster._membership.workers[1].untidy
        # what a worker does not hold it refuses, even if the master believes it does
        cluster._stores.newest["share"] = 1
        for worker in cluster._membership.workers.values():
            worker.held["share"] = 1
        with pytest.raises(Exception, match="2 workers must be able"):
            cluster.run(kept, Fastest(2))


def test_a_killed_master_leaves_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import os\nfrom coded_als.master import LocalCluster\ncluster = LocalCluster(1)\n"
        "print(cluster._fleet.process_id, flush=True)\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert all_end_within([int(ended.stdout)], 3.0)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("coded-als")] == []
