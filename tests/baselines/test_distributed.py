"""Sparse ALS on a cluster: the same model as on one machine, and no harm from skipped shards."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.baselines import ImplicitALS, RidgeALS, distributed
from coded_als.baselines.distributed import EnoughAndOverdue, FirstCopy, Partial, WaitForAll, fit_on_cluster
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes.product import deal
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.master import LocalCluster


def build(kind, **changes):
    given = {"rank": 3, "iterations": 5, "dtype": "float64", "threads": 1} | changes
    return RidgeALS(regularization=0.5, biases=False, **given) if kind == "ridge" else ImplicitALS(**given)


@pytest.fixture
def matrix():
    generator = np.random.default_rng(0)
    dense = np.where(generator.random((14, 11)) < 0.4, generator.integers(1, 6, (14, 11)), 0).astype(float)
    dense[3] = 0
    return sparse.csr_array(dense)


@pytest.mark.parametrize("policy", [WaitForAll(), FirstCopy(2), FirstCopy(4), Partial(4, max_skips=0)], ids=str)
@pytest.mark.parametrize("kind", ["ridge", "implicit", "hu"])
def test_policies_that_skip_nobody_give_the_model_of_one_machine(kind, policy, matrix):
    changes = {"alpha": 2.0} if kind == "hu" else {}
    local = build(kind, **changes).fit(matrix)
    with InlineCluster(4, "exp:mean=20ms", seed=3) as cluster:
        remote = fit_on_cluster(build(kind, **changes), matrix, cluster, policy)
    np.testing.assert_allclose(remote.user_factors_, local.user_factors_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(remote.item_factors_, local.item_factors_, rtol=1e-7, atol=1e-9)
    for mine, theirs in zip(remote.history_, local.history_, strict=True):
        assert mine.objective == pytest.approx(theirs.objective, rel=1e-8)
    assert len(remote.recommend(0).ids) > 0


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        *itertools.product(["ridge", "implicit", "hu"], [InlineCluster, SimulatedCluster]),
        ("implicit", LocalCluster),
        pytest.param("ridge", LocalCluster, marks=pytest.mark.slow),
        pytest.param("hu", LocalCluster, marks=pytest.mark.slow),
    ],
)
def test_copies_in_pieces_give_the_same_model_whoever_is_slow(kind, make, matrix, monkeypatch):
    """To the last bit: pieces are put together in their own order."""
    monkeypatch.setattr(distributed, "pieces_of_sum", lambda *_: 3)
    changes = ({"alpha": 2.0} if kind == "hu" else {}) | {"rank": 1 if kind == "ridge" else 3}
    local, found = build(kind, **changes).fit(matrix), []
    for seed, delays in enumerate(("exp:mean=2ms+slowdown-lognormal:sigma=1", "dead:n=1", "none")):
        kernels = set()
        with make(6, delays, seed=seed) as cluster:
            run = cluster.run
            monkeypatch.setattr(cluster, "run", lambda round, until: kernels.add(round.kernel) or run(round, until))  # noqa: B023
            found.append(fit_on_cluster(build(kind, **changes), matrix, cluster, FirstCopy(3)))
        assert kernels == {"solve_pieces"}
    np.testing.assert_allclose(found[0].user_factors_, local.user_factors_, rtol=1e-7, atol=1e-9)
    assert found[0].history_[-1].objective == pytest.approx(local.history_[-1].objective, rel=1e-8)
    for other in found[1:]:
        np.testing.assert_array_equal(other.user_factors_, found[0].user_factors_)
        np.testing.assert_array_equal(other.item_factors_, found[0].item_factors_)


@pytest.mark.parametrize(("delays", "part"), [("none", 0.6), ("slowdown:p=0.3,factor=5", 0.9)])
def test_the_work_of_stragglers_counts_in_half_steps(delays, part, monkeypatch):
    matrix = sparse.random_array((300, 200), density=0.2, rng=np.random.default_rng(0), format="csr")
    elapsed = []
    for pieces in (1, 2):
        monkeypatch.setattr(distributed, "pieces_of_sum", lambda *_: pieces)  # noqa: B023
        with SimulatedCluster(4, delays, machine=Machine(1e5)) as cluster:
            fit_on_cluster(build("implicit", iterations=2), matrix, cluster, FirstCopy(2))
            elapsed.append(cluster.seconds())
    assert elapsed[1] < part * elapsed[0]


def test_checked_and_short_half_steps_stay_whole(matrix):
    for verify, speed in (("off", 1e10), ("freivalds", 1.0), ("off", 1.0)):
        kernels = set()
        with SimulatedCluster(4, machine=Machine(speed)) as cluster:
            cluster.observers.append(lambda event: kernels.add(event.pieces))  # noqa: B023
            fit_on_cluster(build("ridge", iterations=1), matrix, cluster, FirstCopy(2), verify=verify)
        assert (kernels == {None}) is ((verify, speed) != ("off", 1.0))


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["ridge", "implicit"]),
    delays=st.sampled_from(["exp:mean=20ms", "bimodal:p=0.5,fast=1ms,slow=1s", "pareto:scale=1ms,alpha=1.1"]),
    seed=st.integers(0, 10**6),
    wait_for=st.integers(1, 5),
    max_skips=st.integers(0, 6),
)
def test_the_objective_never_rises_whoever_is_skipped(kind, delays, seed, wait_for, max_skips):
    generator = np.random.default_rng(seed)
    dense = np.where(generator.random((13, 9)) < 0.5, generator.integers(1, 6, (13, 9)), 0).astype(float)
    dense[0, 0] = 1
    with InlineCluster(5, delays, seed=seed) as cluster:
        policy = Partial(wait_for, max_skips)
        model = fit_on_cluster(build(kind, iterations=8), sparse.csr_array(dense), cluster, policy)
    for before, after in itertools.pairwise(iteration.objective for iteration in model.history_):
        assert after <= before + 1e-9 * abs(before)


@pytest.mark.parametrize("start", [SimulatedCluster, LocalCluster])
def test_the_laws_hold_on_clusters_with_a_clock(start, matrix):
    """With 12 workers the shards of users have one row or two, with different numbers of entries; one of items is empty."""
    with InlineCluster(12) as inline:
        expected = fit_on_cluster(build("implicit"), matrix, inline)
    with start(12, "bimodal:p=0.2,fast=1ms,slow=50ms", seed=1) as cluster:
        for policy in (WaitForAll(), FirstCopy(2)):
            model = fit_on_cluster(build("implicit"), matrix, cluster, policy)
            np.testing.assert_allclose(model.user_factors_, expected.user_factors_, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(model.item_factors_, expected.item_factors_, rtol=1e-9, atol=1e-12)
        events = []
        cluster.observers.append(events.append)
        model = fit_on_cluster(build("implicit", iterations=8), matrix, cluster, Partial(6, max_skips=2))
    responded = sum(event.status == "counted" for event in events)
    assert 2 * 12 + 14 * 6 <= responded < 16 * 12  # some shards were skipped, though in no side's first round
    objectives = [iteration.objective for iteration in model.history_]
    assert all(after <= before + 1e-9 * abs(before) for before, after in itertools.pairwise(objectives))
    assert all(iteration.seconds > 0 for iteration in model.history_)


def test_no_shard_is_skipped_more_often_than_allowed(matrix):
    """Worker 4 is always last; with max_skips=2 its response must count in every third round of a side."""

    class LastIsSlow(InlineCluster):
        def __init__(self):
            super().__init__(5)
            self.responded = []

        def run(self, round, until):
            responses = super().run(round, until)
            self.responded.append((round.label, 4 in responses.workers))
            return responses

    cluster = LastIsSlow()
    fit_on_cluster(build("ridge", iterations=9), matrix, cluster, Partial(3, max_skips=2))
    for side in ("solve items", "solve users"):
        assert [last for label, last in cluster.responded if label == side] == [True, False, False] * 3


def test_replicas_survive_dead_workers_and_single_shards_do_not(matrix):
    with InlineCluster(6, "dead:n=1", seed=1) as cluster:
        survived = fit_on_cluster(build("ridge"), matrix, cluster, FirstCopy(3))
    np.testing.assert_allclose(survived.user_factors_, build("ridge").fit(matrix).user_factors_, rtol=1e-7, atol=1e-9)
    with InlineCluster(6, "dead:n=1", seed=1) as cluster, pytest.raises(NotEnoughWorkers):
        fit_on_cluster(build("ridge"), matrix, cluster)
    with InlineCluster(6, "dead:n=1", seed=1) as cluster, pytest.raises(NotEnoughWorkers, match="max_skips"):
        fit_on_cluster(build("ridge"), matrix, cluster, Partial(3))


def test_more_workers_than_rows(matrix):
    with InlineCluster(20) as cluster:
        model = fit_on_cluster(build("implicit"), matrix, cluster)
    np.testing.assert_allclose(model.user_factors_, build("implicit").fit(matrix).user_factors_, rtol=1e-7, atol=1e-9)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=50), st.integers(1, 12))
@settings(max_examples=50)
def test_dealing_gives_every_row_once_and_even_hands(lengths, shards):
    lengths = np.array(lengths)
    hands = deal(lengths, shards)
    assert len({len(hand) for hand in hands}) == 1
    dealt = np.concatenate(hands)
    assert sorted(dealt[dealt >= 0]) == list(range(len(lengths)))
    entries = [int(lengths[hand[hand >= 0]].sum()) for hand in hands]
    assert max(entries) - min(entries) <= lengths.max()


def test_the_partial_rule_says_what_it_waits_for():
    rule = EnoughAndOverdue(2, frozenset({3}))
    assert rule.needed == 2
    assert [rule.satisfied(responded) for responded in ([3], [0, 1], [0, 3], [0, 1, 3])] == [False, False, True, True]
    assert "max_skips" in str(rule.refusal([0, 1]))
    assert "Lower wait_for" in str(rule.refusal([3]))


@pytest.mark.parametrize(
    ("policy", "message"),
    [(FirstCopy(3), "multiple of copies=3; got 4"), (Partial(5), "at most the 4 workers; got 5")],
)
def test_policies_that_do_not_suit_the_cluster(policy, message, matrix):
    with InlineCluster(4) as cluster, pytest.raises(UsageError, match=message):
        fit_on_cluster(build("ridge"), matrix, cluster, policy)


def test_biases_are_refused(matrix):
    with InlineCluster(2) as cluster, pytest.raises(UsageError, match="biases=False"):
        fit_on_cluster(RidgeALS(2), matrix, cluster)


@pytest.mark.parametrize("verify", ["off", "freivalds"])
def test_verified_half_steps_are_solved_in_the_way_that_their_residuals_prove(matrix, verify):
    """Compiled loops lose digits of ill-conditioned short rows: honest workers would be blamed for that."""

    stable = set()

    class Spying(InlineCluster):
        def run(self, round, until):
            stable.update(payload[-1][-1] for payload in round.payloads)
            return super().run(round, until)

    with Spying(4) as cluster:
        fit_on_cluster(build("ridge"), matrix, cluster, verify=verify)
    assert stable == {float(verify != "off")}
