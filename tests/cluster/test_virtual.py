"""The virtual clock: its arithmetic, its events, its timing-only mode, and an event-driven model beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.cluster import AnyOfEach, Cluster, Fastest, Round, TaskEvent, WellConditioned, all_of
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.rules import counted_workers
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.cluster.waiting import RoundCost, fastest_s, in_turn_s, round_seconds, waiting_s
from coded_als.codes import EntangledPolynomialCode
from coded_als.delays import DelayStream
from coded_als.errors import CodedALSError, NotEnoughWorkers, UsageError
from coded_als.master import LocalCluster

MACHINE = Machine(multiplications_per_second=1e6, bytes_per_second=1e6, latency_s=0.001, message_s=0.0)


def products(size: int, seed: int = 0) -> tuple[list[np.ndarray], Round]:
    """Stored left factors, and a round that multiplies them by payloads."""
    rng = np.random.default_rng(seed)
    left = [rng.standard_normal((1, 3, 4)) for _ in range(size)]
    payloads = [(rng.standard_normal((1, 4, 2)),) for _ in range(size)]
    return left, Round("product", ("left",), payloads, ("right",), ((1, 3, 2),), operations=24e3, label="E = D B")


def simulated(size: int, delays: str, seed: int = 0) -> SimulatedCluster:
    return SimulatedCluster(size, delays, seed, MACHINE)


def test_a_round_costs_messages_delay_and_work() -> None:
    left, round = products(5)
    with simulated(5, "exp:mean=20ms", seed=4) as cluster:
        cluster.store("left", left)
        responses = cluster.run(round, Fastest(3))
        # five payloads through one link, and responses that come milliseconds apart
        expected = np.sort(DelayStream("exp:mean=20ms", 5, 4).next_round())[2]
        expected += 0.002 + (5 * 64 + 48) / 1e6 + 24e3 / 1e6
        assert responses.elapsed_s == pytest.approx(expected, rel=1e-12)
        assert cluster.seconds() == responses.elapsed_s
        assert cluster.virtual


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 2**40), st.data())
def test_results_and_arrivals_are_those_of_the_inline_cluster(size: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, size))
    left, round = products(size, seed)
    with (
        InlineCluster(size, "uniform:low=0s,high=1s", seed) as inline,
        simulated(size, "uniform:low=0s,high=1s", seed) as sim,
    ):
        for cluster in (inline, sim):
            cluster.store("left", left)
        for _ in range(3):
            ours, theirs = sim.run(round, Fastest(k)), inline.run(round, Fastest(k))
            assert ours.workers == theirs.workers
            for worker in ours.workers:
                np.testing.assert_array_equal(ours.results[worker][0], theirs.results[worker][0])


def test_payloads_are_kept_by_workers_that_were_not_needed() -> None:
    left, round = products(4)
    with simulated(4, "slow:n=3,delay=10s") as cluster:
        cluster.store("left", left)
        cluster.run(round, Fastest(1))
        again = Round("product", ("left", "right"), response_shapes=((1, 3, 2),))
        responses = cluster.run(again, all_of(4))
        for worker in range(4):
            np.testing.assert_allclose(responses.results[worker][0], left[worker] @ round.payloads[worker][0])


def test_events_tell_answered_late_superseded_and_unfinished(tmp_path: Path) -> None:
    events: list[TaskEvent] = []
    left, round = products(4)
    with simulated(4, trace_spec(tmp_path, [[0.0, 0.0005, 5.0, np.inf]])) as cluster:
        cluster.observers.append(events.append)
        cluster.store("left", left)
        cluster.run(round, Fastest(1))
        cluster.run(round, Fastest(2))
    seen = {(event.round_index, event.worker): event.status for event in events}
    assert len(events) == 8
    assert seen == {
        (0, 0): "counted", (0, 1): "late", (0, 2): "superseded", (0, 3): "superseded",
        (1, 0): "counted", (1, 1): "counted", (1, 2): "unfinished", (1, 3): "unfinished",
    }  # fmt: skip
    dropped = next(event for event in events if (event.round_index, event.worker) == (0, 2))
    assert dropped.received_s is None
    assert dropped.sent_s == 0.0
    # dropped when the second round's payloads are there, which take as long as the first's
    assert dropped.waited_s == pytest.approx(0.024 + 0.002 + (4 * 64 + 48) / 1e6, rel=1e-9)
    assert dropped.computed_s == 0.0
    for event in events:
        if event.received_s is not None and event.sent_s is not None:
            assert event.received_s - event.sent_s >= event.waited_s + event.computed_s


def test_a_straggler_is_free_at_once_when_the_next_round_arrives(tmp_path: Path) -> None:
    left, round = products(2)
    with simulated(2, trace_spec(tmp_path, [[0.0, 50.0], [50.0, 0.0]])) as cluster:
        cluster.store("left", left)
        first, second = cluster.run(round, Fastest(1)), cluster.run(round, Fastest(1))
    assert (first.workers, second.workers) == ((0,), (1,))
    assert second.elapsed_s == pytest.approx(first.elapsed_s)
    assert first.elapsed_s < 0.1


def test_too_few_workers_are_refused_before_anything_runs() -> None:
    left, round = products(4)
    with simulated(4, "dead:n=2") as cluster:
        cluster.store("left", left)
        with pytest.raises(NotEnoughWorkers, match="at least 3 workers"):
            cluster.run(round, Fastest(3))
        assert cluster.seconds() == 0.0


@pytest.mark.parametrize(
    "arguments", [{"bytes_per_second": 0.0}, {"latency_s": -1.0}, {"message_s": np.inf}, {"cores": 0}, {"cores": 1.5}]
)
def test_impossible_machines_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Machine(**arguments)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**30), st.data())
def test_timing_only_rounds_take_what_the_cluster_says(size: int, rounds: int, seed: int, data: st.DataObject) -> None:
    spec = data.draw(
        st.sampled_from(
            ["exp:mean=1s", "normal-ops:mu=1e-6s,sigma=1e-5s", "markov:fast=1ms,slow=1s,enter=0.2,leave=0.3"]
        )
    )
    groups = tuple(frozenset(range(size)[start::2]) for start in range(min(2, size)))
    until = data.draw(st.one_of(st.integers(1, size).map(Fastest), st.just(AnyOfEach(groups))))
    left, round = products(size, seed)
    times = round_seconds(DelayStream(spec, size, seed), [(RoundCost.of(round), until)], MACHINE, rounds)
    with simulated(size, spec, seed) as cluster:
        cluster.store("left", left)
        real = [cluster.run(round, until).elapsed_s for _ in range(rounds)]
    np.testing.assert_allclose(times[:, 0], real, rtol=1e-12)


def test_rules_that_cannot_be_met_take_for_ever() -> None:
    delays = np.array([[1.0, np.inf, 2.0]])
    assert waiting_s(delays, Fastest(3))[0] == np.inf
    assert waiting_s(delays, Fastest(4))[0] == np.inf
    assert waiting_s(delays, Fastest(2))[0] == 2.0
    assert waiting_s(delays, all_of(3))[0] == np.inf


def test_ten_thousand_workers_and_a_thousand_rounds_are_quick() -> None:
    # processor time: others may have the cores meanwhile
    started = time.process_time()
    stream = DelayStream("exp:mean=20ms", 10_000, 1)
    seconds = round_seconds(stream, [(RoundCost(1e6), Fastest(9_000))], Machine(message_s=0.0), 1_000)
    assert time.process_time() - started < 10
    assert seconds.mean() == pytest.approx(0.02 * np.log(10) + Machine().computing_s(1e6) + 2e-4, rel=1e-3)


@settings(max_examples=15)
@given(st.integers(2, 12), st.integers(0, 2**30), st.data())
def test_an_event_driven_model_agrees_event_for_event(size: int, seed: int, data: st.DataObject) -> None:
    """A simpy process per worker that is interrupted by the next round: the same arrivals at the same times."""
    k = data.draw(st.integers(1, size))
    spec = "shifted-exp:shift=5ms,mean=30ms"
    left, round = products(size, seed)
    events: list[TaskEvent] = []
    with simulated(size, spec, seed) as cluster:
        cluster.observers.append(events.append)
        cluster.store("left", left)
        for _ in range(4):
            cluster.run(round, Fastest(k))
        total_s = cluster.seconds()
    expected_total_s, expected = _event_driven(size, spec, seed, RoundCost.of(round), k, rounds=4)
    assert total_s == pytest.approx(expected_total_s, rel=1e-12)
    responded = [(e.round_index, e.worker, e.received_s) for e in events if e.status == "counted"]
    assert [row[:2] for row in responded] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in responded], [row[2] for row in expected], rtol=1e-12)


def _event_driven(
    size: int, spec: str, seed: int, cost: RoundCost, k: int, rounds: int
) -> tuple[float, list[tuple[int, int, float]]]:
    """The protocol written out: a master, and workers that drop what they do for a newer round."""
    env, stream = simpy.Environment(), DelayStream(spec, size, seed)
    to_master = simpy.Store(env)
    arrivals: list[tuple[int, int, float]] = []

    link = simpy.Resource(env, capacity=1)

    def task(index: int, worker: int, delay: float, superseded: simpy.Event) -> simpy.events.ProcessGenerator:
        sending_s = size * cost.payload_bytes / MACHINE.bytes_per_second + MACHINE.latency_s
        work = env.timeout(sending_s + delay + cost.operations / MACHINE.multiplications_per_second)
        yield work | superseded
        if work.processed:
            yield env.timeout(MACHINE.latency_s)
            with link.request() as turn:
                yield turn
                yield env.timeout(cost.response_bytes / MACHINE.bytes_per_second)
                yield to_master.put((index, worker))

    def master() -> simpy.events.ProcessGenerator:
        nonlocal link
        for index in range(rounds):
            superseded, link = env.event(), simpy.Resource(env, capacity=1)
            for worker, delay in enumerate(stream.next_round(cost.operations)):
                env.process(task(index, worker, float(delay), superseded))
            responded = 0
            while responded < k:
                number, worker = yield to_master.get()
                if number == index:
                    responded += 1
                    arrivals.append((index, worker, env.now))
            superseded.succeed()

    env.run(env.process(master()))
    return env.now, arrivals


def trace_spec(folder: Path, rows: list[list[float]]) -> str:
    """A delay SPEC for these seconds, one list a round."""
    lines = [f"{worker},{index},{seconds}\n" for index, row in enumerate(rows) for worker, seconds in enumerate(row)]
    (folder / "trace.csv").write_text("worker,round,seconds\n" + "".join(lines))
    return f"trace:{folder / 'trace.csv'}"


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 45))
def test_the_first_sufficient_answers_are_found_by_few_questions(size: int, enough: int, needed: int) -> None:
    needed = min(needed, enough)
    asked: list[int] = []

    class Rule:
        """Satisfied from a number of responses on that lies beyond its threshold."""

        def __init__(self) -> None:
            self.needed = needed

        def satisfied(self, responded: Sequence[int]) -> bool:
            asked.append(len(responded))
            return len(responded) >= enough

        def refusal(self, reachable: Sequence[int]) -> CodedALSError:
            return NotEnoughWorkers(len(reachable), enough)

    order = tuple(range(size))
    if enough > size:
        with pytest.raises(NotEnoughWorkers):
            counted_workers(order, Rule())
    else:
        assert counted_workers(order, Rule()) == order[: max(1, enough)]
        assert len(asked) <= 2 * np.log2(size) + 4


def test_a_code_that_waits_for_its_tolerance_gets_the_answers_that_a_plain_scan_finds() -> None:
    code = EntangledPolynomialCode(4, 4, 1, 20)
    rng = np.random.default_rng(0)
    for tolerance in (1e-13, 1e-12, 1e-10):
        rule = WellConditioned(code, tolerance)
        for _ in range(30):
            order = tuple(rng.permutation(20).tolist())
            plain = next(count for count in range(10, 21) if rule.satisfied(order[:count]))
            assert counted_workers(order, rule) == order[:plain]


@pytest.mark.slow
@pytest.mark.parametrize("delays", ["exp:mean=50ms", "bimodal:p=0.5,fast=20ms,slow=200ms"])
def test_real_workers_take_as_long_as_virtual_ones(delays: str) -> None:
    workers, needed, rounds = 20, 11, 40
    left, round = products(workers)

    def mean_s(cluster: Cluster) -> float:
        cluster.store("left", left)
        return float(np.mean([cluster.run(round, Fastest(needed)).elapsed_s for _ in range(rounds)]))

    with LocalCluster(workers, delays, seed=1) as local, SimulatedCluster(workers, delays, seed=1) as virtual:
        assert mean_s(local) == pytest.approx(mean_s(virtual), rel=0.1)


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.0, 0.05), min_size=1, max_size=12),
    st.integers(1, 4),
    st.lists(st.floats(1e-4, 0.04), min_size=12, max_size=12),
)
def test_workers_compute_in_turn_on_shared_cores(ready: list[float], cores: int, work_s: list[float]) -> None:
    """A queue written out: who came first gets the core that is free first."""
    free, ended = [0.0] * cores, [0.0] * len(ready)
    for start, worker in sorted((start, worker) for worker, start in enumerate(ready)):
        free.sort()
        free[0] = ended[worker] = max(start, free[0]) + work_s[worker]
    found = in_turn_s(np.array([ready]), np.array([work_s[: len(ready)]]), cores)[0]
    np.testing.assert_allclose(found, ended, rtol=1e-12)


def test_responses_come_one_after_the_other_through_the_link() -> None:
    machine = Machine(1e6, 1e3, 0.5, 0.25)
    cost = RoundCost(operations=2e6, payload_bytes=500, response_bytes=250)
    # payloads: 3 (0.25 + 0.5) + 0.5 latency; then delay, 2 s of work, 0.5 latency; responses take 0.5 each
    found = cost.response_s(np.array([[10.0, 0.0, 0.1]]), machine)
    np.testing.assert_allclose(found, [[2.75 + 10 + 2.5 + 0.5, 2.75 + 2.5 + 0.5, 2.75 + 2.5 + 1.0]])


def test_a_round_says_the_type_of_its_numbers_and_their_bytes() -> None:
    round = Round("product", payloads=[(np.ones((1, 4, 3)),)], response_shapes=((1, 2, 3), (5,)))
    assert round.dtype == np.float64
    assert (round.payload_bytes, round.response_bytes, round.array_bytes((5,))) == (96, 88, 40)
    with pytest.raises(UsageError, match="dtype must be float64, the one type of rounds so far"):
        Round("product", dtype=np.dtype(np.float32))


@pytest.mark.parametrize("spec", ["exp:mean=20ms", "dead:n=3", "exp:mean=1ms+slowdown:p=0.2,factor=5", "none"])
@pytest.mark.parametrize(
    "machine", [Machine(), Machine(1e9, 1e6, 1e-3, 1e-4), Machine(1e9, np.inf, 0.0, 0.0), Machine(cores=2)]
)
@pytest.mark.parametrize("k", [1, 9, 12, 13])
def test_the_kth_response_without_the_names_is_that_with_them(spec: str, machine: Machine, k: int) -> None:
    stream, cost = DelayStream(spec, 12, 3), RoundCost(1e6, 1e4, 1e4)
    drawn = [stream.disturb(1e6) for _ in range(50)]
    late, slow = (np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness"))
    expected = waiting_s(cost.response_s(late, machine, slow), Fastest(k))
    np.testing.assert_allclose(fastest_s(cost, late, machine, slow, k), expected, rtol=1e-12)


def test_a_million_workers_are_timed_alone() -> None:
    """The ninth of ten of an exponential law; a thousand such rounds take some half a minute."""
    alone = Machine(np.inf, np.inf, 0.0, 0.0)
    stream = DelayStream("exp:mean=20ms", 1_000_000)
    seconds = round_seconds(stream, [(RoundCost(0.0), Fastest(900_000))], alone, 3)
    np.testing.assert_allclose(seconds, 0.02 * np.log(10), rtol=2e-3)
    with pytest.raises(UsageError, match="from 1 to 1000000"):
        DelayStream("none", 1_000_001)
