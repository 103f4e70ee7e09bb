"""The laws of a `Cluster`: in the calling process, on the virtual clock, and on worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from coded_als.cluster import AnyOfEach, Cluster, Fastest, Round, TaskEvent, all_of
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.scope import Scope
from coded_als.cluster.verification import VerifiedCluster
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.delays import Trace
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.master import LocalCluster

Start = Callable[..., Cluster]
GENERATOR = np.random.default_rng(7)
LEFT, RIGHT = GENERATOR.normal(size=(2, 5, 4)), GENERATOR.normal(size=(2, 5, 3))


def on_dask(request: pytest.FixtureRequest) -> Start:
    """Clusters on one Dask cluster."""
    client = request.getfixturevalue("dask_client")
    from coded_als.dask import DaskCluster

    return lambda workers, delays, seed: DaskCluster(client, workers, delays=delays, seed=seed)


@pytest.fixture(params=[InlineCluster, SimulatedCluster, LocalCluster, "DaskCluster"])
def start(request: pytest.FixtureRequest) -> Any:
    """Starts clusters and closes them."""
    clusters: list[Cluster] = []
    kind = on_dask(request) if request.param == "DaskCluster" else request.param

    def start(workers: int, delays: Any = "none", seed: int = 0) -> Cluster:
        clusters.append(kind(workers, delays, seed))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.close()


def rows(*seconds: list[float]) -> Trace:
    """Scripted delays, one row per round."""
    return Trace(np.array(seconds))


def as_complex(planes: np.ndarray) -> np.ndarray:
    return planes[0] + 1j * planes[1]


def test_kernels_give_what_numpy_gives(start: Start) -> None:
    cluster = start(2)
    cluster.store("left", [LEFT, 2 * LEFT])
    round = Round("transposed_product", ("left",), [(RIGHT,), (RIGHT,)], response_shapes=((2, 4, 3),))
    results = cluster.run(round, all_of(2)).results
    expected = as_complex(LEFT).T @ as_complex(RIGHT)
    for worker in range(2):
        np.testing.assert_allclose(as_complex(results[worker][0]), (worker + 1) * expected, rtol=1e-12)


def test_a_response_may_hold_several_arrays(start: Start) -> None:
    cluster = start(1)
    cluster.store("stored", [LEFT[:1].transpose(0, 2, 1)])
    round = Round("product_and_gram", ("stored",), [(RIGHT[:1],)], response_shapes=((1, 4, 3), (1, 3, 3)))
    product, gram = cluster.run(round, Fastest(1)).results[0]
    np.testing.assert_allclose(product[0], LEFT[0].T @ RIGHT[0], rtol=1e-12)
    np.testing.assert_allclose(gram[0], RIGHT[0].T @ RIGHT[0], rtol=1e-12)


def test_a_cluster_says_how_fast_it_is_and_whom_it_waits_for_through_proxies_too(start: Start) -> None:
    delays = rows([0.25, 0.0])
    cluster = start(2, delays)
    proxies = (Scope(cluster), VerifiedCluster(cluster), VerifiedCluster(Scope(cluster)))
    for asked in (cluster, *proxies):
        assert asked.delays is delays
        assert asked.machine == cluster.machine
        assert isinstance(asked.machine, Machine)


def test_workers_answer_in_the_order_of_their_delays(start: Start) -> None:
    cluster = start(3, rows([0.5, 0.0, 0.25]))
    responses = cluster.run(payload_round(3), all_of(3))
    assert responses.workers == (1, 2, 0)
    assert tuple(responses.results) == (1, 2, 0)


def test_nobody_waits_for_a_straggler(start: Start) -> None:
    cluster = start(4, rows([0.0, 30.0, 0.0, 0.0]))
    started = time.perf_counter()
    responses = cluster.run(payload_round(4), Fastest(3))
    assert set(responses.workers) == {0, 2, 3}
    assert responses.elapsed_s < 5
    assert time.perf_counter() - started < 5


def test_one_of_each_group_is_enough(start: Start) -> None:
    cluster = start(4, rows([30.0, 0.0, 0.04, 30.0]))
    groups = AnyOfEach((frozenset({0, 1}), frozenset({2, 3})))
    assert set(cluster.run(payload_round(4), groups).workers) == {1, 2}


def test_too_few_workers_is_an_error_at_once(start: Start) -> None:
    cluster = start(3, rows([0.0, np.inf, np.inf], [0.0, 0.0, 0.0]))
    with pytest.raises(NotEnoughWorkers) as caught:
        cluster.run(payload_round(3), Fastest(2))
    assert (caught.value.alive, caught.value.needed) == (1, 2)
    assert len(cluster.run(payload_round(3), all_of(3)).workers) == 3


def test_a_group_without_a_copy_is_an_error_at_once(start: Start) -> None:
    cluster = start(3, rows([0.0, 0.0, np.inf]))
    with pytest.raises(NotEnoughWorkers, match="worker 2 held"):
        cluster.run(payload_round(3), all_of(3))


def test_what_is_stored_again_is_what_counts(start: Start) -> None:
    cluster = start(2)
    payload = (np.ones((1, 1, 1)),)
    for value in (2.0, 3.0):
        cluster.store("factor", (np.full((1, 1, 1), value + worker) for worker in range(2)))
        results = cluster.run(Round("product", ("factor",), [payload] * 2, response_shapes=((1, 1, 1),)), all_of(2))
        assert {worker: result[0].item() for worker, result in results.results.items()} == {0: value, 1: value + 1}


def test_what_is_kept_is_kept_by_the_preempted_too(start: Start) -> None:
    cluster = start(2, rows([0.0, 30.0], [0.0, 0.0]))
    one = np.ones((1, 1, 1))
    cluster.store("one", [one, one])
    kept = [(np.full((1, 1, 2), 5.0 + worker),) for worker in range(2)]
    cluster.run(Round("product", ("one",), kept, keep=("kept",), response_shapes=((1, 1, 2),)), Fastest(1))
    results = cluster.run(Round("product", ("one", "kept"), response_shapes=((1, 1, 2),)), all_of(2)).results
    assert [results[worker][0].tolist() for worker in range(2)] == [[[[5.0, 5.0]]], [[[6.0, 6.0]]]]


def test_what_is_kept_may_be_an_operand_of_its_own_round(start: Start) -> None:
    cluster = start(1)
    payload = (np.full((1, 1, 1), 4.0), np.full((1, 1, 1), 3.0))
    round = Round("product_and_gram", ("a",), [payload], keep=("a",), response_shapes=((1, 1, 1), (1, 1, 1)))
    product, gram = cluster.run(round, Fastest(1)).results[0]
    assert (product.item(), gram.item()) == (16.0, 12.0)


def test_what_is_dropped_is_no_operand_any_more(start: Start) -> None:
    cluster = start(2)
    payload = (np.ones((1, 1, 1)),)
    cluster.store("stays", [np.full((1, 1, 1), 2.0)] * 2)
    cluster.store("goes", [np.full((1, 1, 1), 3.0)] * 2)
    cluster.run(Round("product", ("stays",), [payload] * 2, keep=("kept",), response_shapes=((1, 1, 1),)), all_of(2))
    cluster.drop(["goes", "kept", "never stored"])
    for name in ("goes", "kept"):
        with pytest.raises(UsageError, match=rf"must be stored before they are used; got \['{name}'\]"):
            cluster.run(Round("product", (name,), [payload] * 2, response_shapes=((1, 1, 1),)), all_of(2))
    results = cluster.run(Round("product", ("stays",), [payload] * 2, response_shapes=((1, 1, 1),)), all_of(2)).results
    assert [results[worker][0].item() for worker in range(2)] == [2.0, 2.0]
    cluster.store("goes", [np.full((1, 1, 1), 4.0)] * 2)
    results = cluster.run(Round("product", ("goes",), [payload] * 2, response_shapes=((1, 1, 1),)), all_of(2)).results
    assert [results[worker][0].item() for worker in range(2)] == [4.0, 4.0]


def test_to_drop_from_a_closed_cluster_is_harmless(start: Start) -> None:
    cluster = start(1)
    cluster.store("name", [np.ones((1, 1, 1))])
    cluster.close()
    cluster.drop(["name"])


def test_whole_numbers_are_stored_as_such(start: Start) -> None:
    cluster = start(2)
    rows = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    for name, array in (("data", [2.0, 1.0, 3.0]), ("places", [1, 0, 2]), ("ends", [0, 1, 3])):
        cluster.store(name, [np.array(array, dtype=np.float64 if name == "data" else np.int32)] * 2)
    right = np.arange(6.0).reshape(3, 2)
    round = Round("row_gram_product", ("data", "places", "ends"), [(right,)] * 2, response_shapes=((3, 2),))
    results = cluster.run(round, all_of(2)).results
    for worker in range(2):
        np.testing.assert_allclose(results[worker][0], rows.T @ rows @ right, rtol=1e-12)


def test_there_must_be_one_share_for_each_worker(start: Start) -> None:
    cluster = start(2)
    for number in (1, 3):
        with pytest.raises(ValueError, match=r"argument|one share"):
            cluster.store("name", [np.zeros((1, 1, 1))] * number)


def test_answers_leave_one_event_each(start: Start) -> None:
    cluster = start(3)
    events: list[TaskEvent] = []
    cluster.observers.append(events.append)
    for _ in range(2):
        cluster.run(payload_round(3), all_of(3))
    assert sorted((event.round_index, event.worker) for event in events) == [(r, w) for r in range(2) for w in range(3)]
    assert {(event.status, event.label) for event in events} == {("counted", "a label")}
    for event in events:
        assert event.sent_s is not None
        assert event.received_s is not None
        assert 0 <= event.sent_s <= event.received_s <= cluster.seconds()


def test_every_task_leaves_one_event_whatever_became_of_it(start: Start) -> None:
    cluster = start(4, rows([0.0, 30.0, 0.0, np.inf], [0.0, 0.0, 30.0, np.inf]))
    events: list[TaskEvent] = []
    cluster.observers.append(events.append)
    for _ in range(2):
        cluster.run(payload_round(4), Fastest(2))
    cluster.close()
    statuses = {(event.round_index, event.worker): event.status for event in events}
    assert len(statuses) == len(events) == 8
    responded = {(0, 0), (0, 2), (1, 0), (1, 1)}
    assert {task for task, status in statuses.items() if status == "counted"} == responded
    assert {status for task, status in statuses.items() if task not in responded} <= {"superseded", "unfinished"}
    assert statuses[1, 2] == statuses[1, 3] == "unfinished"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_response_that_is_not_finite_does_not_count(start: Start, value: float) -> None:
    cluster = start(3, rows([0.0, 0.05, 0.05]))
    events: list[TaskEvent] = []
    cluster.observers.append(events.append)
    share = np.ones((1, 2, 2))
    cluster.store("share", [np.where([[[True, False], [False, False]]], value, share), share, share])
    round = Round("product", ("share",), [(np.ones((1, 2, 1)),)] * 3, response_shapes=((1, 2, 1),))
    told: dict[int, str] = {}
    for index in range(20):
        responses = cluster.run(round, Fastest(2))
        assert set(responses.workers) == set(responses.results) == {1, 2}
        told = {event.worker: event.status for event in events if event.round_index == index}
        if 0 in told:  # beside a load the first worker may be the last, and the round does not wait for it
            break
    assert told == {0: "refused", 1: "counted", 2: "counted"}


def test_too_few_finite_responses_are_an_error_that_says_so(start: Start) -> None:
    cluster = start(3, rows([0.0, 0.0, 30.0], [0.0, 0.0, 0.0]))
    events: list[TaskEvent] = []
    cluster.observers.append(events.append)
    cluster.store("share", [np.full((1, 1, 1), value) for value in (np.nan, np.inf, 1.0)])
    round = Round("product", ("share",), [(np.ones((1, 1, 1)),)] * 3, response_shapes=((1, 1, 1),))
    with pytest.raises(NotEnoughWorkers, match=r"NaN or infinity do not count \(worker \d(, \d)?\)") as caught:
        cluster.run(round, Fastest(2))
    assert (caught.value.alive, caught.value.needed) == (1, 2)
    cluster.store("share", [np.ones((1, 1, 1))] * 3)
    assert len(cluster.run(round, all_of(3)).workers) == 3
    cluster.close()
    assert [event.status for event in events if event.round_index == 0 and event.worker < 2] == ["refused"] * 2


def test_a_large_but_finite_response_counts(start: Start) -> None:
    cluster = start(1)
    cluster.store("share", [np.full((1, 2, 1), 1.5e308)])
    round = Round("product", ("share",), [(np.ones((1, 1, 1)),)], response_shapes=((1, 2, 1),))
    assert cluster.run(round, all_of(1)).workers == (0,)


@pytest.mark.parametrize("given", [{"delays": 5}, {"seed": "a"}, {"seed": -1}, {"seed": 1.5}, {"workers": 1.5}])
def test_parameters_of_the_wrong_kind_are_refused(start: Start, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=f"^{name} must be"):
        start(**{"workers": 2, **given})


def test_size_and_clock(start: Start) -> None:
    cluster = start(2)
    before = cluster.seconds()
    assert cluster.size == 2
    cluster.run(payload_round(2), Fastest(2))
    assert cluster.seconds() > before
    assert cluster.virtual == isinstance(cluster, SimulatedCluster)


def payload_round(workers: int, value: float = 1.0) -> Round:
    """A round without operands, whose response is the square of ``value``."""
    payload = (np.full((1, 1, 1), value), np.full((1, 1, 1), value))
    return Round("product", (), [payload] * workers, response_shapes=((1, 1, 1),), label="a label")
