"""Fits from exactly as many workers as a code needs, and with products that are coarse: right to what they say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from coded_als import CodedALS, CodedOperator, InlineCluster, SimulatedCluster
from coded_als.als.als import FusedSweeps
from coded_als.als.convergence import Stopping
from coded_als.als.problem import Problem
from coded_als.als.products import AT_WORST
from coded_als.als.ritz import RitzPairs
from coded_als.cluster import Round, WellConditioned
from coded_als.codes import EntangledPolynomialCode, SystematicCode
from coded_als.codes.survivors import worst_survivors
from coded_als.delays import Trace
from coded_als.errors import DecodingError, NotEnoughWorkers
from tests.als.test_convergence import excess, optimum, with_spectrum

MATRIX = np.random.default_rng(0).standard_normal((70, 50))


def alive(workers, survivors):
    """Delays under which these workers respond, and no other ever does."""
    delays = np.full((1, workers), np.inf)
    delays[0, list(survivors)] = 0.0
    return Trace(delays)


def require_truth_or_doubt(model, matrix=MATRIX):
    """Converged, and rightly so, or undecided with a cure that fits."""
    assert model.outcome_ in ("converged", "undecided")
    if model.outcome_ == "converged":
        assert excess(model, matrix) <= 2 * model.tolerance
        assert model.remedy_ is None
    else:
        assert "from the workers that could respond" in model.remedy_


def fits_from(workers, p, sets, matrix=MATRIX, **parameters):
    """The outcomes of fits of which exactly these workers are alive, each held to what it says."""
    outcomes = []
    for survivors in sets:
        model = CodedALS(4, code=f"systematic:p={p}", precomputation="local", **parameters)
        model.fit(matrix, InlineCluster(workers, alive(workers, survivors)))
        require_truth_or_doubt(model, matrix)
        assert {record.responses for record in model.rounds_} == {p}
        outcomes.append(model.outcome_)
    return outcomes


@pytest.mark.parametrize(("workers", "p", "random", "looked_at"), [(30, 21, 8, 200), (48, 36, 4, 120)])
def test_fits_from_the_worst_survivors_known_end_and_are_right(workers, p, random, looked_at):
    code, rng = SystematicCode(p, 1, workers), np.random.default_rng(0)
    worst = worst_survivors(code, p, looked_at).sets[:8]
    assert code.error_estimate(worst[0]) > 1e-11
    sets = [*worst, *(rng.permutation(workers)[:p].tolist() for _ in range(random))]
    assert fits_from(workers, p, sets).count("converged") == len(sets)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "p", "looked_at"), [(30, 21, 1000), (200, 150, 500)])
def test_a_thousand_fits_and_the_fifty_worst_known(workers, p, looked_at):
    code, rng = SystematicCode(p, 1, workers), np.random.default_rng(0)
    sets = [
        *worst_survivors(code, p, looked_at).sets,
        *(rng.permutation(workers)[:p].tolist() for _ in range(1000)),
    ]
    matrix = np.random.default_rng(1).standard_normal((p + 40, p + 20))
    with threadpool_limits(1, "blas"):
        outcomes = fits_from(workers, p, sets, matrix)
    assert outcomes[50:].count("converged") == 1000


@cache
def bad_survivors():
    return worst_survivors(SystematicCode(21, 1, 30), 21, 200).sets[0]


@pytest.mark.parametrize("kind", [InlineCluster, SimulatedCluster])
@pytest.mark.parametrize("precomputation", ["local", "coded"])
@pytest.mark.parametrize("solver", ["lobpcg", "als"])
def test_every_way_to_fit_goes_on_from_a_bad_set(kind, precomputation, solver):
    matrix = with_spectrum(np.r_[9.0, 7.0, 5.0, np.geomspace(2, 0.1, 37)])
    model = CodedALS(3, code="systematic:p=21", precomputation=precomputation, solver=solver, regularization=0.3)
    model.fit(matrix, kind(30, alive(30, bad_survivors())))
    assert max(record.error_estimate for record in model.rounds_) > 1e-11
    assert model.outcome_ == "converged"
    assert excess(model, matrix) <= 2 * model.tolerance


def test_the_last_product_is_computed_by_the_master_where_it_decodes_badly():
    matrix = with_spectrum(np.r_[9.0, 7.0, 5.0, np.geomspace(2, 0.1, 37)])
    code, rng = "entangled:h=6", np.random.default_rng(3)
    for _ in range(3):
        cluster = InlineCluster(50, alive(50, rng.permutation(50)[:21]))
        model = CodedALS(3, code=code, precomputation="coded", regularization=0.3).fit(matrix, cluster)
        require_truth_or_doubt(model, matrix)
        assert model.outcome_ == "converged"


def test_operators_bare_rounds_and_the_papers_protocol_still_refuse():
    survivors = bad_survivors()
    with pytest.raises(DecodingError):
        CodedOperator(MATRIX, InlineCluster(30, alive(30, survivors)), code="systematic:p=21") @ MATRIX.T
    code = SystematicCode(21, 1, 30)
    cluster = InlineCluster(30, alive(30, survivors))
    cluster.store("A", code.encode_left(MATRIX))
    round = Round("product", ("A",), [(share,) for share in code.encode_right(MATRIX.T)])
    with pytest.raises(DecodingError):
        cluster.run(round, WellConditioned(code, code.error_estimate(survivors) / 2))
    rng, code = np.random.default_rng(3), EntangledPolynomialCode(6, 6, 1, 50)
    drawn = [rng.permutation(50)[:21].tolist() for _ in range(20)]
    survivors = next(chosen for chosen in drawn if 1e-11 < code.error_estimate(chosen) < AT_WORST)
    with pytest.raises(DecodingError):
        CodedALS(4, partitions=6, protocol="paper", solver="als").fit(MATRIX, InlineCluster(50, alive(50, survivors)))


def test_one_worker_too_few_is_still_an_error_and_says_how_many_it_takes():
    with pytest.raises(NotEnoughWorkers, match="at least 21 workers must be able to respond; 20 are alive"):
        CodedALS(4, code="systematic:p=21").fit(MATRIX, InlineCluster(30, alive(30, bad_survivors()[1:])))


def test_a_round_goes_on_to_its_tolerance_while_others_can_respond():
    """One live worker more than the bad set has: it is waited for, however late."""
    survivors, delays = bad_survivors(), np.full((1, 30), np.inf)
    delays[0, list(survivors)] = 0.0
    late = next(worker for worker in range(30) if worker not in survivors)
    delays[0, late] = 5.0
    model = CodedALS(4, code="systematic:p=21", precomputation="local").fit(MATRIX, SimulatedCluster(30, Trace(delays)))
    assert {record.responses for record in model.rounds_} == {22}


class Coarse:
    """X -> D X with an error of a given size, relative to |D| |x|, of one of three kinds."""

    def __init__(self, matrix, error, kind, seed=0):
        self.gram, self.error, self.kind = matrix.T @ matrix, error, kind
        self.rng = np.random.default_rng(seed)
        self.size = np.linalg.norm(self.gram)

    def __call__(self, right):
        image = self.gram @ right
        wrong = self.rng.standard_normal(image.shape)
        if self.kind == "one block":
            wrong[10:] = 0.0
            wrong[:10] = self.rng.standard_normal((10, 1))
        elif self.kind == "along the product":
            wrong = image.copy()
        return image + self.error * self.size * wrong / np.linalg.norm(wrong, axis=0)


def coarsely_fitted(monkeypatch, matrix, rank, error, kind, solver="lobpcg"):
    """A fit whose every product has an error of the size that its rounds tell of."""
    product = Coarse(matrix, error, kind)
    monkeypatch.setattr(SystematicCode, "error_estimate", lambda self, workers: error)
    monkeypatch.setattr("coded_als.als.products.StoredProduct.__call__", _told(product))
    unit = 2.0 ** np.ceil(np.log2(np.abs(matrix).max()))
    product.gram, product.size = product.gram / unit**2, product.size / unit**2
    model = CodedALS(rank, code="systematic:p=3", precomputation="local", solver=solver, iterations=300)
    return model.fit(matrix, InlineCluster(3))


def _told(product):
    from coded_als.als.products import RoundRecord

    def call(self, right):
        self._log.records.append(RoundRecord("E = D X", 3, 0.0, product.error))
        return product(right)

    return call


SPECTRA = {
    "gap": np.r_[9.0, 7.0, 5.0, np.geomspace(2, 0.1, 37)],
    "slow": 1 / np.arange(1, 41),
    "flat": np.linspace(1.0, 0.9, 40),
    "clusters": np.r_[1 + 1e-8 * np.arange(20), np.full(20, 0.5)],
    "tie": np.r_[3.0, np.full(10, 1.0), np.full(29, 0.5)],
    "small": np.r_[100.0, np.geomspace(1e-2, 1e-4, 39)],
}


@pytest.mark.parametrize("kind", ["random", "one block", "along the product"])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("error", [1e-12, 1e-10, 1e-9, 1e-8, 1e-6, 1e-4, 5e-3])
@pytest.mark.parametrize("solver", ["lobpcg", "krylov", 2])
def test_no_decoding_error_makes_a_false_claim(monkeypatch, error, spectrum, kind, solver):
    matrix = with_spectrum(SPECTRA[spectrum])
    if solver == 2:  # a narrow block
        monkeypatch.setattr(CodedALS, "_columns", lambda *given: solver)
    name = "lobpcg" if solver == "lobpcg" else "krylov"
    model = coarsely_fitted(monkeypatch, matrix, 3, error, kind, solver=name)
    assert not model.converged_ or excess(model, matrix) <= 2 * model.tolerance
    assert model.outcome_ != "unfinished"
    if error <= 1e-9 and spectrum == "gap":
        assert model.converged_


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_images_are_computed_anew_where_residuals_stagnate(monkeypatch, seed):
    """Where leading values are almost equal the errors of many rounds add up: new images save a third of the rounds or more."""
    values = np.r_[1 + 1e-6 * np.random.default_rng(seed).random(30), np.full(8, 0.3)]
    matrix = with_spectrum(np.sort(values)[::-1], 85, seed)
    model = coarsely_fitted(monkeypatch, matrix, 4, 1e-9, "one block")
    assert model.converged_
    monkeypatch.setattr(Stopping, "renews", lambda self: False)
    # the counts depend on the rounding of the BLAS, the ratio hardly does
    assert len(model.history_) <= 0.7 * len(coarsely_fitted(monkeypatch, matrix, 4, 1e-9, "one block").history_)


def test_products_without_digits_are_refused():
    with pytest.raises(DecodingError, match="decoding must be accurate to"):
        CodedALS(4, code="entangled:h=6,points=real").fit(MATRIX, InlineCluster(50))
    assert AT_WORST <= 0.01


def test_what_coarse_products_hide_is_undecided_and_says_so(monkeypatch):
    matrix = with_spectrum(SPECTRA["slow"])
    model = coarsely_fitted(monkeypatch, matrix, 3, 5e-3, "random")
    assert model.outcome_ == "undecided"
    assert "decoded to 5e-03 only" in model.remedy_
    assert model.objective_ >= optimum(matrix, 3)


@pytest.mark.parametrize(("error", "asked"), [(1e-13, 0), (9e-11, 0), (2e-10, 1), (1e-5, 1)])
def test_products_beyond_what_is_trusted_are_checked_on_the_data(monkeypatch, error, asked):
    values = np.r_[3.0, 2.0, 1.0, np.full(27, 0.1)]
    pairs = RitzPairs(values[:7] ** 2, np.eye(30)[:, :7], np.zeros(7), guards=5)
    stopping, verified = Stopping(Problem(np.diag(values), False), 2, 0.0, 1e-2), []
    original = Stopping.verify
    monkeypatch.setattr(Stopping, "verify", lambda self, pairs: verified.append(pairs) or original(self, pairs))
    stopping._judged = 1  # guards of the random start itself would not be believed
    assert stopping.judge(pairs, error).outcome == "converged"
    assert len(verified) == asked


def test_sweeps_of_vanishing_directions_do_not_overflow():
    """What a coarse product makes of a direction without a value is divided by its value, again and again."""
    rng, gram = np.random.default_rng(0), np.diag(np.r_[1.0, np.zeros(19)])
    start = np.linalg.qr(rng.standard_normal((20, 3)))[0]
    sweeps = FusedSweeps(lambda right: gram @ right + 1e-6 * rng.standard_normal(right.shape), start)
    for _ in range(200):
        sweeps.products()
        sweeps.update(0.0, 1e-6)
        assert all(np.isfinite(array).all() for array in sweeps.state().values())
