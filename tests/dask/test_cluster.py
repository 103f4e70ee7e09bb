"""Workers on a Dask cluster: what is refused, who comes back, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq

pytest.importorskip("distributed")

from dask import config
from distributed import Client

from coded_als import CodedALS
from coded_als.dask import DaskCluster
from coded_als.dask import cluster as asking
from coded_als.dask import cluster as reach
from coded_als.errors import CodedALSError, UsageError
from coded_als.wire import Hello, encode
from tests.master.processes import all_end_within
from tests.wire.availability import needs_shared_memory

R = np.random.default_rng(5).normal(size=(40, 30))


def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Whether something holds before long: what the other side does has no event on this one."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_dask_cluster_is_as_it_was_when_ours_is_closed(dask_client: Any) -> None:
    threads = threading.active_count()
    plugins = dask_client.run(lambda dask_worker: set(dask_worker.plugins))
    for _ in range(2):
        with DaskCluster(dask_client, 3) as cluster:
            assert CodedALS(4).fit(R, cluster).objective_ == pytest.approx(CodedALS(4).fit(R).objective_, rel=1e-9)
            process_ids = cluster.process_ids.values()
        assert not any(map(is_running, process_ids))
        assert dask_client.run(lambda dask_worker: set(dask_worker.plugins)) == plugins
        assert threading.active_count() == threads
        assert dask_client.status == "running"


def test_one_worker_for_each_thread_by_default(dask_client: Any) -> None:
    with DaskCluster(dask_client) as cluster:
        assert cluster.size == 2


def test_workers_are_seen_while_the_client_renews_what_it_knows(dask_client: Any) -> None:
    with (
        config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        Client(dask_client.scheduler.address) as client,
    ):
        assert {len(asking.dask_workers(client)) for _ in range(300)} == {2}


@needs_shared_memory
def test_workers_on_this_machine_share_the_masters_memory(dask_client: Any) -> None:
    with DaskCluster(dask_client, 3) as cluster:
        assert cluster._link.memory is not None
        assert {worker.memory for worker in cluster._membership.workers.values()} == {cluster._link.memory.name}


def test_a_worker_that_was_killed_is_started_again(dask_client: Any) -> None:
    with DaskCluster(dask_client, 3) as cluster:
        killed = cluster.process_ids[1]
        os.kill(killed, signal.SIGKILL)

        def is_back() -> bool:
            CodedALS(2).fit(R, cluster)
            return cluster.process_ids[1] != killed

        assert eventually(is_back)


def test_the_process_that_forks_the_workers_is_started_again(dask_client: Any) -> None:
    with DaskCluster(dask_client, 4) as cluster:
        killed = dict(cluster.process_ids)
        parent = parent_of(killed[0])
        theirs = {number for number, process_id in killed.items() if parent_of(process_id) == parent}
        assert len(theirs) == 2
        os.kill(parent, signal.SIGKILL)

        def are_back() -> bool:
            CodedALS(2).fit(R, cluster)
            return all(cluster.process_ids[number] != killed[number] for number in theirs)

        assert eventually(are_back)
        assert all(cluster.process_ids[number] == killed[number] for number in killed.keys() - theirs)


def test_a_killed_dask_worker_is_back_in_a_round_and_changes_nothing() -> None:
    from distributed import Client, LocalCluster

    expected = CodedALS(4).fit(R).objective_
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as dask,
        Client(dask) as client,
        DaskCluster(client, 6) as cluster,
    ):
        address, dask_process = next(iter(client.run(os.getpid).items()))
        theirs, killed = set(cluster.starter.homes()[address]), dict(cluster.process_ids)
        responded: set[int] = set()
        cluster.observers.append(
            lambda event: (
                responded.add(event.worker)
                if event.status in ("counted", "late") and cluster.process_ids[event.worker] != killed[event.worker]
                else None
            )
        )
        os.kill(dask_process, signal.SIGKILL)

        def all_have_responded() -> bool:
            assert CodedALS(4, code="replicated:copies=4").fit(R, cluster).objective_ == pytest.approx(
                expected, rel=1e-8
            )
            return responded == theirs

        assert len(theirs) == 3
        assert eventually(all_have_responded)


def test_a_dask_worker_imports_nothing_heavy_for_the_plugin() -> None:
    code = "import sys, coded_als.dask.plugin; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"scipy", "numba", "pyarrow", "coded_als.dask.cluster", "coded_als.als", "coded_als.baselines"}
    assert not heavy & set(run.stdout.split())


def test_a_cluster_that_is_closed_after_its_client_leaves_nothing(dask_client: Any) -> None:
    from distributed import Client

    client = Client(dask_client.scheduler_info()["address"], set_as_default=False)
    cluster = DaskCluster(client, 2)
    name, process_ids = cluster.starter.name, list(cluster.process_ids.values())
    client.close()
    CodedALS(2).fit(R, cluster)
    cluster.close()
    cluster.close()
    assert all_end_within(process_ids, 5)
    assert not any(dask_client.run(lambda dask_worker: name in dask_worker.plugins).values())
    assert name not in dask_client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.worker_plugins))


def test_a_cluster_closes_beside_a_dask_worker_that_has_stopped(
    dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LEAVE_WITHIN_S", 0.5)
    cluster = DaskCluster(dask_client, 2)
    name, process_ids = cluster.starter.name, list(cluster.process_ids.values())
    stopped = next(iter(dask_client.run(os.getpid).values()))
    os.kill(stopped, signal.SIGSTOP)
    try:
        cluster.close()
        assert all_end_within(process_ids, 5)
        monkeypatch.setattr(asking, "ASK_WITHIN_S", 0.5)
        with pytest.raises(CodedALSError, match=r"must respond within 0\.5 s; not all did"):
            DaskCluster(dask_client, 2)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: not any(dask_client.run(lambda dask_worker: name in dask_worker.plugins).values()))
    assert eventually(lambda: not any(thread.name == "coded-als-asking" for thread in threading.enumerate()))


def test_a_dask_worker_that_is_retired_is_a_loss_and_one_that_is_added_takes_its_place() -> None:
    from distributed import Client, SpecCluster
    from distributed.scheduler import Scheduler
    from distributed.worker import Worker

    spec = {"cls": Worker, "options": {"nthreads": 1}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "protocol": "tcp://"}}
    with (
        SpecCluster(workers={0: spec, 1: spec}, worker=spec, scheduler=scheduler) as dask,
        Client(dask) as client,
        DaskCluster(client, 4) as cluster,
    ):
        first = dict(cluster.process_ids)
        model = CodedALS(2, code="replicated:copies=2")
        expected = model.fit(R, cluster).objective_
        gone = cluster.starter.homes()[next(iter(cluster.starter.homes()))]

        def fits() -> int:
            assert model.fit(R, cluster).objective_ == pytest.approx(expected, rel=1e-8)
            return len(cluster._membership.alive)

        dask.scale(1)
        assert eventually(lambda: fits() == 2)
        dask.scale(2)
        assert eventually(lambda: fits() == 4)
        changed = {number for number, process_id in cluster.process_ids.items() if process_id != first[number]}
        assert len(changed) == len(gone) == 2


def parent_of(process_id: int) -> int:
    return int(subprocess.run(["ps", "-o", "ppid=", str(process_id)], capture_output=True, check=True).stdout)


def test_a_dask_cluster_without_workers_is_refused() -> None:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=0, dashboard_address=":0")
    with cluster, Client(cluster) as client, pytest.raises(UsageError, match="must have workers; got none"):
        DaskCluster(client)
    with pytest.raises(UsageError, match="client must be connected; it is closed"):
        DaskCluster(client)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers must be"),
        ({"delays": "gauss:1"}, "gauss"),
        ({"startup_timeout_s": -1}, "startup_timeout_s"),
        ({"advertise": "host:port"}, 'advertise must be "HOST" or "HOST:PORT"; got'),
    ],
)
def test_parameters_out_of_range_are_refused(dask_client: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DaskCluster(dask_client, **given)


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(UsageError, match=r"synchronous distributed.Client; got str"):
        DaskCluster("tcp://127.0.0.1:8786")  # type: ignore[arg-type]


def test_an_address_that_workers_cannot_reach_is_an_error_at_once(
    dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"not from 2 of 2.*advertise=HOST:PORT"):
        # an address for documentation, which nobody has
        DaskCluster(dask_client, advertise="192.0.2.1")
    assert time.monotonic() - started < 20


def test_an_advertised_address_is_encrypted_and_works(dask_client: Any) -> None:
    with DaskCluster(dask_client, 2, advertise="127.0.0.1") as cluster:
        assert cluster._link.endpoint.startswith("tcp://127.0.0.1:")
        assert cluster._link._router.curve_server
        CodedALS(2).fit(R, cluster)


def test_only_workers_that_dask_started_are_admitted(dask_client: Any) -> None:
    with DaskCluster(dask_client, 2, advertise="127.0.0.1") as cluster:
        allowed = cluster.starter._allowed
        assert sorted(allowed.values()) == [0, 1]  # type: ignore[union-attr]
        public = cluster.starter._plugin._credentials.server_key
        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            # it knows the master's key and the secret of the cluster, as the log of a Dask worker might tell it
            stranger.linger = 0
            stranger.curve_serverkey = public
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
            stranger.connect(cluster._link.endpoint)
            stranger.send_multipart(encode(Hello(cluster._membership.job, 0, 1)))

            def is_refused() -> bool:
                CodedALS(2).fit(R, cluster)
                return cluster._link._gate.refused > 0

            assert eventually(is_refused)
            assert not stranger.poll(100)
        assert set(cluster.process_ids) == {0, 1}


def test_other_versions_on_the_workers_are_refused(dask_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = reach.versions()
    with pytest.raises(UsageError, match=r"got NumPy 1\.0 at tcp://a and .* here"):
        reach.require_versions(ours, {"tcp://b": ours, "tcp://a": ours | {"NumPy": "1.0"}})
    monkeypatch.setattr("coded_als.__version__", "0.0.0")
    with pytest.raises(UsageError, match=r"got coded-als .* and 0\.0\.0 here"):
        DaskCluster(dask_client, 2)


def test_workers_that_cannot_start_are_an_error_that_says_so(dask_client: Any) -> None:
    process_ids = dask_client.run(os.getpid)
    with pytest.raises(CodedALSError, match=r"2 workers must join within 0 s; [01] did"):
        DaskCluster(dask_client, 2, startup_timeout_s=0)
    assert dask_client.run(os.getpid) == process_ids


@pytest.mark.parametrize(
    ("scheduler", "own"),
    [("inproc://1.2.3.4/1/2", "127.0.0.1"), ("tcp://127.0.0.1:5", "127.0.0.1"), ("tls://localhost:8786", "127.0.0.1")],
)
def test_the_own_address_is_the_one_that_leads_to_the_scheduler(scheduler: str, own: str) -> None:
    assert reach.own_address_towards(scheduler) == own
