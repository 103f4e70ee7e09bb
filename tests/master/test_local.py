"""What only real processes can show: late responses, stopped and killed workers, strangers, and clean ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from scipy import sparse

from coded_als.als.products import RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.cluster import Fastest, Round, TaskEvent, all_of
from coded_als.delays import DelayStream, Trace
from coded_als.errors import CodedALSError, NotEnoughWorkers, UsageError, WorkerFailed
from coded_als.master import LocalCluster
from coded_als.wire import Hello, Response, decode, encode
from tests.master.processes import all_end_within, is_running


def value_round(workers: int, value: float = 1.0, numbers: int = 1, **more: Any) -> Round:
    """The response is ``value`` times the stored number of each worker."""
    payload = (np.full((1, 1, numbers), value),)
    return Round("product", ("one",), [payload] * workers, response_shapes=((1, 1, numbers),), **more)


@contextmanager
def cluster_of(workers: int, *delays: list[float], **options: Any) -> Iterator[tuple[LocalCluster, list[TaskEvent]]]:
    """A cluster with scripted delays whose workers hold a one, and its events."""
    rows = Trace(np.array(delays or [[0.0] * workers]))
    options.setdefault("restart", False)
    with LocalCluster(workers, rows, **options) as cluster:
        cluster.store("one", [np.ones((1, 1, 1))] * workers)
        listen_until(cluster, lambda: not any(worker.open_stores for worker in cluster._membership.alive))
        events: list[TaskEvent] = []
        cluster.observers.append(events.append)
        yield cluster, events


def await_messages(cluster: LocalCluster) -> None:
    """Wait until something has arrived that no round has looked at."""
    assert cluster._link._poller.poll(5000)


def listen_until(cluster: LocalCluster, condition: Any) -> None:
    """Deal with messages between rounds until something holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        cluster._membership.step(0.01)


def statuses(events: list[TaskEvent]) -> dict[tuple[int, int], str]:
    """Status by round and worker; there must be one event each."""
    assert max(Counter((event.round_index, event.worker) for event in events).values()) == 1
    return {(event.round_index, event.worker): event.status for event in events}


def test_a_late_answer_never_counts() -> None:
    with cluster_of(2, [0.0, 0.05], [0.2, 0.3]) as (cluster, events):
        # on a busy machine either may be first
        [first] = cluster.run(value_round(2, 1.0), Fastest(1)).workers
        await_messages(cluster)
        responses = cluster.run(value_round(2, 2.0), all_of(2))
        assert [responses.results[worker][0].item() for worker in range(2)] == [2.0, 2.0]
        assert set(responses.workers) == {0, 1}
    assert statuses(events) == {(0, first): "counted", (0, 1 - first): "late", (1, 0): "counted", (1, 1): "counted"}


def test_a_newer_round_supersedes_the_older() -> None:
    with cluster_of(2, [0.0, 30.0], [0.0, 0.0]) as (cluster, events):
        cluster.run(value_round(2), Fastest(1))
        assert cluster.run(value_round(2), all_of(2)).elapsed_s < 5
    assert statuses(events)[0, 1] == "superseded"


def test_the_open_tasks_of_a_closing_cluster_are_unfinished() -> None:
    with cluster_of(2, [0.0, 30.0]) as (cluster, events):
        cluster.run(value_round(2, label="last"), Fastest(1))
    assert statuses(events) == {(0, 0): "counted", (0, 1): "unfinished"}


def test_events_tell_waiting_from_computing() -> None:
    with cluster_of(1, [0.05]) as (cluster, events):
        cluster.run(value_round(1), Fastest(1))
    (event,) = events
    assert event.sent_s is not None
    assert event.received_s is not None
    assert event.waited_s >= 0.05
    assert 0 < event.computed_s < event.received_s - event.sent_s - event.waited_s + event.computed_s


def test_the_loss_of_all_that_can_be_spared_changes_nothing_and_one_more_is_an_error() -> None:
    workers, needed = 6, 3
    with cluster_of(workers, [0.0] * workers) as (cluster, events):
        process_ids = cluster.process_ids
        for spared in range(workers - needed):
            os.kill(process_ids[spared], signal.SIGKILL)
            result = cluster.run(value_round(workers, spared), Fastest(needed)).results
            assert all(arrays[0].item() == spared for arrays in result.values())
        os.kill(process_ids[5], signal.SIGKILL)
        started = time.perf_counter()
        with pytest.raises(NotEnoughWorkers) as caught:
            cluster.run(value_round(workers), Fastest(needed))
        assert (caught.value.alive, caught.value.needed) == (2, 3)
        assert time.perf_counter() - started < 5
    statuses(events)


def test_a_loss_in_the_middle_of_a_round_is_noticed_at_once() -> None:
    with cluster_of(3, [0.0, 0.0, 30.0], [0.0, 0.0, 0.0]) as (cluster, events):
        victim = cluster.process_ids[2]
        threading.Timer(0.1, os.kill, (victim, signal.SIGKILL)).start()
        started = time.perf_counter()
        with pytest.raises(NotEnoughWorkers, match="worker 2 held"):
            cluster.run(value_round(3), all_of(3))
        assert time.perf_counter() - started < 5
        assert all_end_within([victim], 5.0)
        assert set(cluster.run(value_round(3), Fastest(2)).workers) == {0, 1}
    assert statuses(events) == {
        (0, 0): "counted",
        (0, 1): "counted",
        (0, 2): "lost",
        (1, 0): "counted",
        (1, 1): "counted",
    }


def test_an_answer_outlives_its_worker() -> None:
    with cluster_of(2) as (cluster, _):
        cluster.run(value_round(2), all_of(2))
        for process_id in cluster.process_ids.values():
            os.kill(process_id, signal.SIGKILL)
        started = time.perf_counter()
        with pytest.raises(NotEnoughWorkers) as caught:
            cluster.run(value_round(2), Fastest(1))
        assert caught.value.alive <= 1
        assert time.perf_counter() - started < 5


def test_a_stopped_worker_freezes_nobody() -> None:
    with cluster_of(3) as (cluster, events):
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        started = time.perf_counter()
        for value in range(6):  # 8 MB to each: far more than any socket buffers
            results = cluster.run(value_round(3, value, numbers=1_000_000), Fastest(2)).results
            assert set(results) == {0, 2}
        cluster.store("other", [np.ones((1, 1000, 1000))] * 3)
        assert time.perf_counter() - started < 10
        os.kill(cluster.process_ids[1], signal.SIGCONT)
        assert set(cluster.run(value_round(3, 9.0), all_of(3)).results) == {0, 1, 2}
    by_task = statuses(events)
    assert {by_task[index, 1] for index in range(2)} <= {"superseded", "late"}
    assert [by_task[index, 1] for index in range(2, 7)] == ["unsent"] * 4 + ["counted"]


def test_a_store_does_not_wait_for_ever_for_the_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.stores.OPEN_SHARES", 1)
    monkeypatch.setattr("coded_als.master.stores.OPEN_BYTES", 1)
    monkeypatch.setattr("coded_als.master.stores.GRACE_S", 0.1)
    with cluster_of(4) as (cluster, _):
        for worker in (0, 1):
            os.kill(cluster.process_ids[worker], signal.SIGSTOP)
        cluster.store("one", [np.full((1, 1, 1), 3.0)] * 4)
        assert {arrays[0].item() for arrays in cluster.run(value_round(4), Fastest(2)).results.values()} == {3.0}


def test_a_store_takes_shares_no_faster_than_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.stores.OPEN_BYTES", 1)
    most = 0
    with cluster_of(12) as (cluster, _):

        def shares() -> Iterator[np.ndarray]:
            nonlocal most
            for _ in range(12):
                most = max(most, sum(len(worker.open_stores) for worker in cluster._membership.alive))
                yield np.zeros((1, 100, 100))

        cluster.store("share", shares())
    assert 1 <= most <= 4


def test_many_stores_in_a_row_reach_everybody() -> None:
    with cluster_of(2) as (cluster, _):
        for value in range(30):
            cluster.store("one", [np.full((1, 1, 1), value)] * 2)
        assert {arrays[0].item() for arrays in cluster.run(value_round(2), all_of(2)).results.values()} == {29.0}


def test_a_worker_that_is_behind_still_gets_what_it_is_to_keep() -> None:
    use = Round("product", ("one", "kept"), response_shapes=((1, 1, 1),))
    with cluster_of(2) as (cluster, events):
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        for value in range(3):  # two open tasks, and the third cannot be sent
            cluster.run(value_round(2, value, keep=("kept",)), Fastest(1))
        os.kill(cluster.process_ids[1], signal.SIGCONT)
        results = cluster.run(use, all_of(2)).results
        assert [results[worker][0].item() for worker in range(2)] == [2.0, 2.0]
    assert statuses(events)[2, 1] == "unsent"


def test_empty_shares_are_waited_for_like_others() -> None:
    with cluster_of(2) as (cluster, _):
        for index in range(40):
            cluster.store(f"empty {index}", [np.ones((1, 0, 1))] * 2)
        held = [cluster._membership.workers[worker].held for worker in range(2)]
        assert all(f"empty {index}" in names for names in held for index in range(40))


def test_nobody_computes_on_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = {"keep": ("kept",), "label": "keep"}
    use = Round("product", ("one", "kept"), response_shapes=((1, 1, 1),))
    with cluster_of(2) as (cluster, events):
        monkeypatch.setattr("coded_als.master.stores.MOST_OPEN_STORES", 0)  # nothing reaches those that are behind
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        for value in range(3):  # two open tasks, and the third cannot be sent
            cluster.run(value_round(2, value, **keep), Fastest(1))
        os.kill(cluster.process_ids[1], signal.SIGCONT)
        listen_until(cluster, lambda: cluster._membership.workers[1].has_credit)
        assert cluster.run(use, Fastest(1)).results[0][0].item() == 2.0
        with pytest.raises(NotEnoughWorkers):
            cluster.run(use, all_of(2))
        cluster.run(value_round(2, 7.0, **keep), all_of(2))
        results = cluster.run(use, all_of(2)).results
        assert [results[worker][0].item() for worker in range(2)] == [7.0, 7.0]
    by_task = statuses(events)
    assert [by_task[index, 1] for index in (2, 3)] == ["unsent", "unsent"]


def test_a_round_for_which_a_worker_is_stale_still_refreshes_what_it_keeps() -> None:
    with cluster_of(2) as (cluster, _):
        cluster._membership.workers[1].held["one"] = -1
        cluster.run(value_round(2, 4.0, keep=("kept",)), Fastest(1))
        use = Round("inner_product", ("kept", "kept"), response_shapes=((1, 1, 1),))
        assert [arrays[0].item() for arrays in cluster.run(use, all_of(2)).results.values()] == [16.0, 16.0]


@pytest.mark.parametrize("again", [True, False])
def test_a_worker_refuses_operands_of_another_version(again: bool) -> None:
    shares = [np.ones((1, 1, 1))] * 2
    with cluster_of(2) as (cluster, events):
        cluster.store("one", shares if again else iter(shares))
        cluster._stores.newest["one"] = cluster._membership.workers[1].held["one"] = 999
        if again:  # who has refused is known to hold nothing, and is given it
            assert len(cluster.run(value_round(2), all_of(2)).results) == 2
        else:  # and is not asked again where that cannot be
            for _ in range(2):
                with pytest.raises(NotEnoughWorkers):
                    cluster.run(value_round(2), Fastest(1))
    left = {(0, 0): "counted", (0, 1): "counted"} if again else {(0, 0): "unsent", (0, 1): "lost"}
    assert {task: status for task, status in statuses(events).items() if task[0] == 0} == left


def test_credit_that_comes_back_within_a_round_is_used() -> None:
    with cluster_of(2, [0.0, 0.0], [0.0, 0.0], [30.0, 0.0]) as (cluster, events):
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        for _ in range(2):
            cluster.run(value_round(2), Fastest(1))
        threading.Timer(0.1, os.kill, (cluster.process_ids[1], signal.SIGCONT)).start()
        assert cluster.run(value_round(2), Fastest(1)).workers == (1,)
    assert statuses(events)[2, 1] == "counted"


def test_what_a_kernel_raises_is_raised_with_its_worker() -> None:
    with cluster_of(2, [0.0, 30.0]) as (cluster, _):
        bad = Round("product", ("one",), [(np.ones((1, 3, 1)),)] * 2, response_shapes=((1, 1, 1),))
        with pytest.raises(WorkerFailed, match=r"worker 0 failed in 'product': ValueError"):
            cluster.run(bad, Fastest(1))
        assert cluster.run(value_round(2), Fastest(1)).workers == (0,)


def test_a_response_of_another_shape_is_raised() -> None:
    with cluster_of(1) as (cluster, events):
        wrong = Round("product", ("one",), [(np.ones((1, 1, 2)),)], response_shapes=((1, 1, 1),))
        with pytest.raises(WorkerFailed, match=r"must be float64 of the shapes"):
            cluster.run(wrong, Fastest(1))
    assert len(statuses(events)) == 1


@pytest.mark.parametrize(
    ("round", "message"),
    [
        (Round("no_such_kernel"), "kernel must be"),
        (Round("product", ("nothing",)), "operands must be stored"),
        (Round("product", (), [()]), "one payload for each"),
        (Round("product", (), [()] * 2, keep=("kept",)), "keep must name"),
        (Round("product", (), None, keep=("kept",)), "keep must name"),
    ],
)
def test_a_round_that_cannot_be_run_is_refused(round: Round, message: str) -> None:
    with cluster_of(2) as (cluster, _), pytest.raises(UsageError, match=message):
        cluster.run(round, Fastest(1))


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": -1}, {"workers": 2, "delays": "exp:maen=2ms"}])
def test_bad_parameters_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LocalCluster(**options)


@contextmanager
def rogue_of(cluster: LocalCluster, password: bytes | None) -> Iterator[zmq.Socket[bytes]]:
    """A client of the master that is none of its workers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as rogue:
        rogue.linger = 0
        if password is not None:
            rogue.plain_username, rogue.plain_password = b"0", password
        rogue.connect(cluster._link.endpoint)
        yield rogue


def test_nobody_without_the_secret_gets_a_message_through() -> None:
    with cluster_of(1) as (cluster, events):
        hello = encode(Hello(cluster._membership.job, 0, 1))
        with rogue_of(cluster, None) as plain, rogue_of(cluster, b"guess") as guessing:
            for rogue in (plain, guessing):
                with suppress(zmq.Again):  # one that was refused already cannot send
                    rogue.send_multipart([b"\xff"], zmq.DONTWAIT)
                    rogue.send_multipart(hello, zmq.DONTWAIT)
            refused = cluster._link.disconnections
            listen_until(cluster, lambda: cluster._link.disconnections >= refused + 2)
            assert cluster.run(value_round(1, 4.0), Fastest(1)).results[0][0].item() == 4.0
            assert plain.poll(50) == guessing.poll(50) == 0
        assert cluster.malformed == 0
        assert len(cluster.process_ids) == 1
    assert set(statuses(events).values()) == {"counted"}


def test_a_flood_of_strangers_delays_nobody_and_fills_no_memory() -> None:
    flooded = threading.Event()
    refused = 0

    def flood(*rogues: zmq.Socket[bytes]) -> None:
        nonlocal refused
        while not flooded.is_set():
            for rogue in rogues:
                try:
                    rogue.send(b"x" * 2000, zmq.DONTWAIT)
                except zmq.Again:
                    refused += 1

    with (
        cluster_of(2) as (cluster, _),
        rogue_of(cluster, None) as plain,
        rogue_of(cluster, cluster._membership.job.hex().encode()) as insider,
    ):
        thread = threading.Thread(target=flood, args=(plain, insider))
        thread.start()
        try:
            listen_until(cluster, lambda: cluster.malformed > 100)
            before = resident_bytes()
            seen = refused
            while refused < seen + 20_000:  # nobody reads: 20,000 messages of 2 kB would show
                time.sleep(0.001)
            assert resident_bytes() - before < 20e6
            started = time.perf_counter()
            for value in range(20):
                assert len(cluster.run(value_round(2, value), all_of(2)).workers) == 2
            assert time.perf_counter() - started < 5
        finally:
            flooded.set()
            thread.join()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_strangers_with_the_secret_are_ignored() -> None:
    with cluster_of(1, [0.0], [0.2]) as (cluster, events):
        with rogue_of(cluster, cluster._membership.job.hex().encode()) as rogue:
            response = Response(cluster._membership.job, 0, 0, 0, arrays=(np.ones((1, 1, 1)),))
            rogue.send_multipart([b"\xff\x00", b"junk"])
            rogue.send_multipart([b""])
            rogue.send_multipart(encode(Hello(b"another job", 0, 1)))
            rogue.send_multipart(encode(response))  # never introduced itself
            listen_until(cluster, lambda: cluster.malformed == 4)
            rogue.send_multipart(encode(Hello(cluster._membership.job, 0, 1)))
            listen_until(cluster, lambda: rogue.poll(0))
            assert decode(rogue.recv_multipart()).reason.endswith("0 is taken. Choose another.")
            rogue.send_multipart(encode(Hello(cluster._membership.job, 1, 1)))
            listen_until(cluster, lambda: rogue.poll(0))
            assert "from 0 to 0; got 1" in decode(rogue.recv_multipart()).reason
            rogue.send_multipart(encode(response))
            listen_until(cluster, lambda: cluster.malformed == 5)
            cluster.run(value_round(1), Fastest(1))
        assert cluster.run(value_round(1, 4.0), Fastest(1)).results[0][0].item() == 4.0
    assert set(statuses(events).values()) == {"counted"}


def test_closing_does_not_wait_and_leaves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.local.END_WITHIN_S", 30.0)
    with cluster_of(4, [0.0, 30.0, 30.0, 30.0]) as (cluster, _):
        process_ids = [*cluster.process_ids.values(), cluster._fleet.process_id]
        os.kill(process_ids[3], signal.SIGSTOP)
        cluster.run(value_round(4), Fastest(1))
        started = time.perf_counter()
        cluster.close()
        assert time.perf_counter() - started < 10
        assert not any(map(is_running, process_ids))
        cluster.close()
        with pytest.raises(UsageError, match="closed"):
            cluster.run(value_round(4), Fastest(1))


def test_an_exception_leaves_nobody() -> None:
    process_ids: list[int] = []

    def interrupted() -> None:
        with LocalCluster(2) as cluster:
            process_ids.extend(cluster.process_ids.values())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(process_ids) == 2
    assert not any(map(is_running, process_ids))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
def test_a_forked_copy_of_the_master_ends_nobody() -> None:
    with cluster_of(1) as (cluster, _):
        copy = os.fork()
        if copy == 0:
            cluster.close()
            os._exit(0)
        os.waitpid(copy, 0)
        assert cluster.run(value_round(1), Fastest(1)).workers == (0,)


def test_a_forgotten_cluster_leaves_nobody() -> None:
    cluster = LocalCluster(2)
    process_ids = cluster.process_ids.values()
    del cluster
    assert not any(map(is_running, process_ids))


SCRIPT = """
import os, signal, sys
import numpy as np
from coded_als.als.products import RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.cluster import Fastest, Round
from coded_als.master import LocalCluster
cluster = LocalCluster(3, "slow:n=2,delay=30s")
payload = (np.ones((1, 1, 1)),) * 2
cluster.run(Round("product", (), [payload] * 3, response_shapes=((1, 1, 1),)), Fastest(1))
print(*cluster.process_ids.values(), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "1 / 0"])
def test_workers_end_with_their_master_however_it_ends(end: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)], capture_output=True, text=True, timeout=60, check=False
    )
    process_ids = [int(word) for word in process.stdout.split()]
    assert len(process_ids) == 3, process.stderr
    assert all_end_within(process_ids, 2.0)


def test_workers_end_with_their_fleet() -> None:
    with cluster_of(2, [30.0, 30.0]) as (cluster, _):
        os.kill(cluster._fleet.process_id, signal.SIGKILL)
        assert all_end_within(cluster.process_ids.values(), 3.0)
        with pytest.raises(NotEnoughWorkers):
            cluster.run(value_round(2), Fastest(1))


def test_a_fleet_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "msgpack.py").write_text("raise ImportError('out of order')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CodedALSError, match="out of order"):
        LocalCluster(2)


def test_workers_that_do_not_start_in_time_are_an_error() -> None:
    with pytest.raises(CodedALSError, match="must join within 0"):
        LocalCluster(2, startup_timeout_s=0.0)


def test_workers_wait_as_long_as_the_seed_says() -> None:
    spec, seed = "exp:mean=20ms", 3
    with LocalCluster(3, spec, seed) as cluster:
        events: list[TaskEvent] = []
        cluster.observers.append(events.append)
        payload = (np.ones((1, 1, 1)),) * 2
        for _ in range(2):
            cluster.run(Round("product", (), [payload] * 3, response_shapes=((1, 1, 1),)), all_of(3))
    stream = DelayStream(spec, 3, seed)
    drawn = [stream.next_round() for _ in range(2)]
    excess = [event.waited_s - drawn[event.round_index][event.worker] for event in events]
    assert min(excess) >= 0
    assert min(excess) < 0.02  # others wait for a core of a busy machine, too


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_keep_the_memory_of_their_results_for_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """To be given it page by page again and again would take a third of a sparse product's time."""
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)  # a Dask cluster of this process has set it
    length = 1 << 16
    with LocalCluster(1) as cluster:
        process = cluster._membership.workers[0].process_id
        held = SparseRows.given_out(sparse.eye_array(length, format="csr"), RoundLog(cluster), 1)
        faults = []
        for _ in range(15):
            held.gram_product(np.ones((length, 8)))
            faults.append(page_faults(process))
        # ten results, of which a few may lie in memory of the master that is new to the worker
        assert faults[-1] - faults[4] < 5 * length * 64 // resource.getpagesize()


def page_faults(process: int) -> int:
    """Pages that the system has given to a process so far."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[7])
