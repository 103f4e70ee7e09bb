"""The stopping rule of `CodedALS`: converged where the bound proves it, undecided where rounding is as large as the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from coded_als.als.lanczos import KrylovSpace
from coded_als.als.problem import Problem
from coded_als.als.ritz import RitzPairs, Triplets, singular_triplets
from coded_als.arrays import Array
from coded_als.codes.decoding import ROUNDING_UNITS
from coded_als.models.checkpoint import arrays_like
from coded_als.planner.solvers import GUARD_VECTORS

# The component of a random start along a given direction, some 1 / sqrt(l), is seldom smaller than that divided by this: for
# a few columns together, once in ten thousand starts.
START_SAFETY = 10.0


def start_safety(length: int) -> float:
    """The safety factor of a residual: an eigenvalue may exceed a Ritz value by so many of its residuals.

    That is all that a random start proves. A Ritz vector with a component c of an eigenvector has at least c times the
    distance of their values as residual (the sin-theta theorem: C. Davis and W. Kahan, SIAM J. Numer. Anal. 7, 1970), and
    iterating shrinks no component with an eigenvalue above the Ritz value.
    """
    return START_SAFETY * float(np.sqrt(length))


@dataclass(frozen=True)
class Outside:
    """The knowledge of the eigenvalues outside a subspace."""

    largest: float  # the largest of them, or a stand-in
    quadratic: float = 1.1  # safety factor of the quadratic bound of `loss_bound`
    linear: float = 1.0  # safety factor of its linear bound: 1 where ``largest`` is sure, else `start_safety`
    beside: int = 0  # guards too close to the last value of the rank to be told from it: what they gain counts too

    @classmethod
    def guarded(cls, smallest: float, length: int) -> Outside:
        """The smallest of the guards stands in for the largest eigenvalue outside, of l."""
        return cls(smallest, quadratic=2.0, linear=start_safety(length))


@dataclass(frozen=True)
class Certificate:
    """The objective of the best factors on a subspace, and a bound."""

    objective: float  # of the factors
    loss: float  # bound on how far that is above the optimum

    @property
    def optimum(self) -> float:
        """Lower bound of the optimum."""
        return self.objective - self.loss

    @property
    def remaining(self) -> float:
        """Bound on the distance from the optimum, relative to it."""
        return self.loss / self.optimum if self.optimum > 0 else np.inf


def gain(values: Array, shifts: Array, regularization: float) -> Array:
    """The gain of the objective from eigenvalues t + s over eigenvalues t, without cancellation.

    An eigenvalue t = sigma^2 explains ((sigma - lam)_+)^2.

    ``values``: eigenvalues t, (k,); ``shifts``: s, (k,).
    """
    low, high = np.sqrt(values), np.sqrt(values + shifts)
    total = np.maximum(low + high, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        both = shifts * np.maximum(1 - 2 * regularization / total, 0.0)
    return np.asarray(np.where(low > regularization, both, np.maximum(high - regularization, 0.0) ** 2))


def loss_bound(values: Array, residuals: Array, outside: Outside, rank: int, regularization: float) -> float:
    """The most that the objective can still lose when ``rank`` Ritz pairs become eigenpairs.

    ``values, residuals``: Ritz values and norms of their residuals, (k,), descending; those beyond the rank are
    left out.
    """
    values, residuals = np.maximum(values[:rank], 0.0), residuals[:rank]
    gaps = values - outside.largest
    # Temple's bound (1928; T. Kato, J. Phys. Soc. Japan 4, 1949): an eigenvalue exceeds its Ritz value by at most
    # residual^2 / gap, where the gap reaches down to the rest of the spectrum. For several pairs at once it holds with one gap
    # and the norm of all residuals (R. Mathias, SIAM J. Matrix Anal. Appl. 19, 1998); pair by pair it needs the factor.
    quadratic = np.divide(residuals**2, gaps, out=np.full_like(gaps, np.inf), where=gaps > 0)
    # an eigenvalue lies within the residual of its Ritz value, for any gap (Krylov and Weinstein; Weyl for all at once)
    linear = outside.linear * residuals
    shifts = np.maximum(-gaps, 0.0) + np.minimum(outside.quadratic * quadratic, linear)
    # a direction below lam^2 is left out, which claims that no eigenvalue above it is near
    shifts = np.where(values > regularization**2, shifts, np.maximum(shifts, linear))
    missing = max(outside.largest, 0.0) * np.ones(rank - values.size)
    unseen = gain(np.zeros_like(missing), missing, regularization)
    return float(gain(values, shifts, regularization).sum() + unseen.sum())


def spectral_objective(left_out: float, values: Array, regularization: float) -> float:
    """The objective of the best factors on given eigenvectors of D, from the eigenvalues sigma^2.

    lam ||U||^2 + lam ||V||^2 is at best 2 lam times the nuclear norm of U V^T (N. Srebro, J. Rennie, T. Jaakkola, NIPS 2004),
    so that the best product has each singular value sigma above lam shrunk to sigma - lam, which costs 2 lam sigma - lam^2; the
    others cost sigma^2.

    ``values``: (d,).
    """
    values = np.maximum(values, 0.0)
    sigma = np.sqrt(values)
    kept = np.where(sigma > regularization, regularization * (2 * sigma - regularization), values)
    return float(left_out + kept.sum())


# The probability that the random columns of a probe together see less of an eigenvalue than `random_start_bound` allows for.
UNSEEN = 1e-8


def random_start_bound(value: float, steps: int, columns: int, length: int) -> float:
    """A bound of the largest eigenvalue of a positive semidefinite matrix, from its value in a Krylov space of random columns.

    The space of one random column after k products has no value of (1 - e) times the largest eigenvalue with a probability of at
    most 1.648 l^(1/2) exp(-(2k - 1) e^(1/2)) (J. Kuczynski and H. Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992), and
    that of several columns only where each of them fails.

    ``value``: the largest Ritz value; ``steps``: products, k; ``columns``: random ones; ``length``: l. Infinite where so few
    products prove nothing.
    """
    part = ((np.log(1.648 * np.sqrt(length)) - np.log(UNSEEN) / columns) / (2 * steps - 1)) ** 2
    return float(value / (1 - part)) if part < 1 else np.inf


# Separates the random columns of probes from all others.
PROBE = 1
PROBE_COLUMNS, KNOWN_COLUMNS, PROBE_STEPS = 4, 5, 48
# A probe ends when the most that an eigenvalue may exceed its value by is this part of the gap.
SEPARATED = 0.1


@dataclass(frozen=True)
class Probe:
    """The largest eigenvalue that a few products with the data find outside a subspace."""

    inside: int  # the dimension of the subspace
    # its Ritz value, and the norm of its residual
    value: float
    residual: float
    above: float  # bound of the eigenvalues outside, as far as a random start proves one (`start_safety`)
    vectors: Array  # where the next probe starts, (l, k)


def probed(
    problem: Problem,
    vectors: Array,
    below: float,
    known: Array | None,
    harmless: float = 0.0,
    harmful: float = np.inf,
    number: int = 0,
    proves: Callable[[float], bool] = lambda above: False,
) -> Probe:
    """The largest eigenvalue of D outside a subspace, as far as it takes to judge the subspace.

    The probe ends where that eigenvalue is told from ``below``, is at least ``harmful``, or has a bound that ``proves`` what
    is to be proved. It also ends where the eigenvalue is at most ``harmless`` and its value as a bound would prove nothing.
    The random columns are those of its ``number``: the directions that an earlier probe found joined the subspace, so the
    same columns again would be blind to the very directions that they lacked.

    ``vectors``: an orthonormal basis of the subspace, (l, k) with k < l; ``known``: directions to start from beside
    random ones, (l, j): guards, or directions that an earlier probe found.
    """
    columns = np.random.default_rng((PROBE, *vectors.shape, number)).standard_normal((problem.length, PROBE_COLUMNS))
    if known is not None:
        columns = np.hstack([known[:, :KNOWN_COLUMNS], columns])
    # the last step, too, leaves a block that would come next
    space = KrylovSpace.outside(vectors, (PROBE_STEPS + 1) * columns.shape[1])
    space.join(columns)
    for step in range(1, PROBE_STEPS + 1):
        space.grow(problem.gram_product(space.pending))
        pairs = space.pairs(columns.shape[1], 0)
        value, residual = float(pairs.values[0]), float(pairs.residuals[0])
        chance = random_start_bound(value, step, PROBE_COLUMNS, problem.length)
        above = min(value + start_safety(problem.length) * residual, chance)
        told = above - value <= SEPARATED * abs(below - value) or value >= harmful
        # where even the value itself as a bound proves nothing, the subspace must become better first
        told = told or proves(above) or (above <= harmless and not proves(value))
        if told or space.next == 0:
            break
    return Probe(vectors.shape[1], value, residual, above, pairs.vectors)


Outcome = Literal["running", "converged", "undecided", "unfinished"]
# Remedies, for people.
REMEDIES: dict[Outcome, str] = {
    "undecided": "float64 cannot tell whether the tolerance is reached: rounding is as large as the possible loss. "
    "Subtract the means (center='columns'), or raise the tolerance.",
    "unfinished": "Not converged: raise the iterations or the tolerance, or use the default solver.",
}
SINGLE_REMEDY = (
    "float32 cannot tell whether the tolerance is reached: rounding of the shares is as large as the possible loss. "
    "Subtract the means (center='columns'), use dtype='float64', or raise the tolerance."
)
COARSE = (
    "The products could be decoded to {error:.0e} only, from the workers that could respond, which hides whether the tolerance "
    "is reached. Bring workers back, lower the parts of the code, or raise the tolerance."
)

# Products of a larger estimated error prove nothing, and the data are asked: the errors of many rounds together are no longer
# small beside the tolerance.
TRUSTED = 1e-10
# The part of the tolerance that the iterations must reach: rounding takes the rest of it.
MARGIN = 0.9
# The guards that a probe leaves out lift what lies outside by at most this part of their distance from the cut.
LIFTED = 0.1
# A guard has settled if its residual is at most this part of its distance from the cut, which bounds the sine of its
# angle to all above the cut (Davis and Kahan), or this many times the residual of the last pair above the cut.
SETTLED, GUARD_RATIO = 0.25, 3.0
# Residuals must have fallen to this part of those verified last before that is done again.
VERIFY_AGAIN = 0.8
# Residuals below this many times the estimated rounding may be nothing else.
ROUNDED = 4.0
# The fields of `Stopping` and of its probe that a run which goes on must know.
_REMEMBERED = ("_judged", "_verified_at", "_best", "_idle", "_renewals", "_last_residual", "_misses")
_PROBED = ("inside", "value", "residual", "above")
# Where the objective of a narrow block has fallen by so many times the tolerance in an iteration, the next one seldom ends the
# fit: the distance from the optimum would have to become a hundred times smaller twice. If it does, one more iteration follows.
FALLING = 1e4
# Iterations without a better bound after which residuals at the level of rounding are as small as they get.
PATIENCE = 5
# A singular value less the ridge weight that is this part of the largest one makes no difference to a product; products
# with D do not tell a smaller one from rounding.
NEGLIGIBLE = 1e-7
# Values at the cut that differ by less than so many times `Stopping.worth`, or by this part of themselves, may
# be equal: the data are asked.
TIE_WIDTHS, TIE_PART = 4.0, 1e-6
# Times that images are computed anew before a fit with untrusted products gives up: errors of many rounds can hold
# residuals far above the estimate of one.
RENEWALS = 4
# Times that a probe may tell a narrow block of directions that it lacks: the block doubles each time, so after
# these a lacking direction is one that its products are too coarse for, and not one that it cannot have met.
MISSES = 12
# D has been rounded or decoded too coarsely where the loss that the data prove is so many times that of the iteration.
COARSENESS = 30.0


def remedy_of(outcome: Outcome, error: float, decoding: float, dtype: str = "float64") -> str | None:
    """The remedy for a fit of this outcome, for people; None where none is needed."""
    if outcome == "undecided" and dtype == "float32":
        return SINGLE_REMEDY
    return COARSE.format(error=error) if outcome == "undecided" and error > decoding else REMEDIES.get(outcome)


def _below(pairs: RitzPairs, first: int, last: int) -> Array:
    """The distances of the pairs from ``first`` to ``last`` below the pair before them, none of them zero."""
    cut = pairs.values[min(first, pairs.values.size) - 1]
    return np.asarray(np.maximum(cut - pairs.values[first:last], np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class Judgement:
    """The judgement of an iteration: its objective, the most that this can still lose, relative to the optimum, and the outcome.

    ``cancelled``: whether the objective had to be computed from the data.
    """

    objective: float
    remaining: float
    outcome: Outcome
    cancelled: bool


@dataclass
class Stopping:
    """Judges the subspaces of one fit, in order."""

    problem: Problem
    rank: int  # factors d
    regularization: float  # ridge weight lam, in the unit of the data
    tolerance: float  # the relative distance of the objective from the optimum to reach
    # columns of the random start of a Krylov space, None for other iterations. Such a space of b columns holds at most
    # b vectors of one eigenvalue: where b is no more than the rank, its guards say nothing of eigenvalues outside, and
    # only a probe of the data from another random start does.
    block: int | None = None
    # whether the other columns of the start are those of a model: pairs may then have small residuals at once, and the
    # directions that the model lacks show in a probe alone
    warm: bool = False
    missed: Array | None = None
    # singular triplets of A on the subspace, if the data have proved that it converged, and it has as many as the rank
    verified: Triplets | None = None
    certificate: Certificate | None = None
    outcome: Outcome = "running"
    _pairs: RitzPairs | None = None
    _judged: int = 0
    _probe: Probe | None = None
    _verified_at: float = np.inf
    _best: float = np.inf
    _idle: int = 0
    _renewals: int = 0
    _last_residual: float = 0.0
    _harmless: float = 0.0
    _misses: int = 0

    def judge(
        self,
        pairs: RitzPairs,
        error: float,
        *,
        before: float | None = None,
        exhausted: bool = False,
        complete: bool = False,
    ) -> Judgement:
        """Whether the subspace of an iteration is good enough, as bad as it will stay, or neither.

        ``before``: the objective of the iteration before, where the Ritz values are enough because the end is far (`is_far`);
        ``exhausted``: whether the iteration itself finds no other subspace; ``complete``: nor does one that is given more
        directions.
        """
        self._judged, self._pairs, self.missed = self._judged + 1, pairs, None
        if self._is_narrow and pairs.values.size <= self.rank and not exhausted:
            # no direction beyond the rank so far
            return self._verdict(pairs, self._certificate(pairs, 0.0, Outside(self.problem.squared_norm)), "running")
        if before is not None:
            # the objective has about as much still to lose as it has lost in this iteration, or less
            objective, _ = self._objective(pairs, 0.0)
            return self._verdict(pairs, Certificate(objective, max(before - objective, 0.0)), "running")
        noise = (error + ROUNDING_UNITS * self.problem.rounding) * self.problem.squared_norm
        hoped = self._certificate(pairs, 0.0, self._expected_outside(pairs))
        proved = self._proved_outside(pairs) if error <= TRUSTED else None
        if proved is not None:
            sure = self._certificate(pairs, noise, proved)
            if sure.remaining <= MARGIN * self.tolerance:
                return self._verdict(pairs, sure, "converged")
        stalled = exhausted or self._stalled(pairs, noise) or (error > TRUSTED and self._renewals >= RENEWALS)
        residual = float(pairs.residuals[: self.rank].max())
        worth_it = hoped.remaining <= MARGIN * self.tolerance and residual <= VERIFY_AGAIN * self._verified_at
        if not (stalled or worth_it):
            return self._verdict(pairs, hoped, "running")
        self._verified_at = residual
        triplets = singular_triplets(pairs.vectors, self.problem.image(pairs.vectors))
        verified, outside = self.verify(triplets)
        if verified.remaining <= self.tolerance:
            self.verified = triplets if pairs.values.size >= self.rank else None
            return self._verdict(pairs, verified, "converged")
        if not complete and self._found_missing(pairs):
            return self._verdict(pairs, verified, "running")
        iterated = Certificate(verified.objective, self._certificate(pairs, 0.0, outside).loss)
        hopeless = stalled or COARSENESS * iterated.remaining <= verified.remaining
        return self._verdict(pairs, verified, "undecided" if hopeless else "running")

    def verify(self, triplets: Triplets) -> tuple[Certificate, Outside]:
        """The certificate of a subspace from the data alone: neither the rounding of D nor decoding enters it.

        ``triplets``: of A on the subspace. Returns the certificate, and the `Outside` of the leading ``rank`` directions.
        """
        left, sigma, right = triplets
        residuals = sigma * np.linalg.norm(self.problem.adjoint(left) - right * sigma, axis=0)
        exact = RitzPairs(sigma**2, right, residuals, max(sigma.size - self.rank, 0))
        objective, rounding = self._objective(exact, 0.0)

        def certified(outside: Outside) -> Certificate:
            return Certificate(objective, self._loss(exact, 0.0, outside) + rounding)

        outside = self._nothing_outside(exact) or self._probed_outside(exact, certified)
        return certified(outside), outside

    def _probed_outside(self, pairs: RitzPairs, certified: Callable[[Outside], Certificate]) -> Outside:
        """The eigenvalues outside the leading ``rank`` of exact pairs, by a probe of the data, which may be finer than the products."""
        known, inside = self._start_of_probe(pairs)
        # where there are fewer pairs than the rank asks for, every direction outside belongs inside
        below = float(pairs.values[self.rank - 1]) if pairs.values.size >= self.rank else 0.0
        worth = self.tolerance * certified(Outside(0.0)).objective
        # bound on eigenvalues that the ridge weight shrinks to nothing, or that lie above the cut by less than the
        # tolerance for all together
        self._harmless = max(below, self.regularization**2) + worth / (8 * self.rank)
        harmful = self._harmless + worth if self._is_narrow else np.inf
        # the gap to the probe's bound is all that a warm start has, and rounds cost more than products at the master
        enough = 0.0 if self.warm else self._harmless

        def proves(above: float) -> bool:
            return certified(self._outside_of_rank(pairs, inside, above)).remaining <= MARGIN * self.tolerance

        inner = pairs.vectors[:, :inside]
        self._probe = probed(self.problem, inner, below, known, enough, harmful, self._judged, proves)
        return self._outside_of_rank(pairs, inside, self._probe.above)

    def _start_of_probe(self, pairs: RitzPairs) -> tuple[Array | None, int]:
        """Directions that a probe starts from beside random ones, (l, k), and the number of pairs inside.

        Guards of a narrow block have converged from the same start as all the others. They are no evidence, and a probe
        that has them would end before its random columns have met the missing directions; settled guards are inside.
        """
        if self._is_narrow:
            return None, min(self.rank, pairs.values.size) + self._settled_count(pairs)
        guards = pairs.vectors[:, self.rank :]
        return self._probe.vectors if self._probe is not None and guards.size == 0 else guards, self.rank

    def _outside_of_rank(self, pairs: RitzPairs, inside: int, above: float) -> Outside:
        """The eigenvalues outside the leading ``rank`` directions, where those outside of the first ``inside`` are at most ``above``.

        The guards among these are no eigenvectors. Those beside the cut gain what the other pairs may gain. A guard further
        below, of value t and residual r, lifts what lies outside by at most r^2 / (c - t), as seen from values of c and more
        (the Schur complement of the guards).
        """
        beside, lifts = self._told_guards(pairs, inside)
        return Outside(above + float(lifts.sum()), beside=beside)

    def _told_guards(self, pairs: RitzPairs, inside: int) -> tuple[int, Array]:
        """Number of the guards among the first ``inside`` pairs that are beside the cut, and the lift of each guard after them."""
        near = pairs.residuals[self.rank : inside] > SETTLED * _below(pairs, self.rank, inside)
        beside = int(near.size - np.argmax(near[::-1])) if near.any() else 0
        first = self.rank + beside
        return beside, pairs.residuals[first:inside] ** 2 / _below(pairs, first, inside)

    @property
    def _is_narrow(self) -> bool:
        return self.block is not None and self.block <= self.rank

    def _found_missing(self, pairs: RitzPairs) -> bool:
        """Whether the probe has found a direction that belongs inside and that a narrow block cannot have met."""
        if not self._is_narrow or self._probe is None or self._misses >= MISSES:
            return False
        if self._probe.value <= self._harmless + ROUNDING_UNITS * self.problem.rounding * self.problem.squared_norm:
            return False
        self.missed, self._misses = self._probe.vectors, self._misses + 1
        self._verified_at, self._best, self._idle = np.inf, np.inf, 0
        return True

    @property
    def objective(self) -> float:
        """The objective of the subspace that was judged last."""
        assert self.certificate is not None
        return self.certificate.objective

    @property
    def worth(self) -> float:
        """The part of the objective that the tolerance allows to lose."""
        return self.tolerance * self.objective

    @property
    def spare(self) -> float:
        """The part of `worth` that the certificate leaves to a choice among equal values."""
        assert self.certificate is not None
        return max(0.0, self.tolerance * self.certificate.optimum - self.certificate.loss)

    @property
    def may_be_tied(self) -> bool:
        """Whether singular values just above and just below the cut may be equal, so that more than one product is best."""
        if self.outcome != "converged" or self._pairs is None or self._pairs.values.size < self.rank:
            return False
        values, inside = self._pairs.values, float(self._pairs.values[self.rank - 1])
        # a guard may not have settled when a probe of the data has found the value that it goes to
        found = [float(values[self.rank])] if self._pairs.guards > 0 else []
        if values.size < self.problem.length and self._probe is not None:
            found.append(self._probe.value)
        if not found:
            return False
        outside = max(found)
        # a pair that the ridge weight shrinks to nothing makes no difference
        sizes = np.sqrt(np.maximum(values[[0, self.rank - 1]], 0.0))
        matters = sizes[1] - self.regularization > NEGLIGIBLE * sizes[0]
        return bool(matters and inside - outside <= max(TIE_WIDTHS * self.worth, TIE_PART * inside))

    def concede(self, lost: float) -> None:
        """Count the loss of objective by a choice among equal values."""
        assert self.certificate is not None
        self.certificate = Certificate(self.certificate.objective, self.certificate.loss + lost)

    def is_far(self, objectives: Sequence[float], before: RitzPairs, coupling: float) -> bool:
        """Whether a narrow block will need more iterations than the running one, as far as the fall of the objective tells.

        ``objectives``: those of the two iterations before, or fewer; ``before``: the pairs of the last of these; ``coupling``:
        the norm of the images of the space outside of it. Where the coupling is small the space is exhausted but for noise,
        and the objective falls no further.
        """
        if not self._is_narrow or len(objectives) < 2:
            return False
        earlier, last = objectives
        # below zero by rounding, where the data have a lower rank
        cut = max(float(before.values[: self.rank].min()), 0.0)
        falls = earlier - last > FALLING * self.tolerance * last > 0
        return falls and coupling**2 > cut * self.tolerance * last

    def renews(self) -> bool:
        """Whether images had better be computed anew, which is then assumed to be done.

        Residuals have not fallen for a while: errors of the products so far may be all that is left of them. Each time
        for longer, as a restart costs a slow iteration its pace.
        """
        if self._idle < PATIENCE * (1 + self._renewals):
            return False
        self._renewals, self._idle, self._best = self._renewals + 1, 0, np.inf
        return True

    def conclude(self, objective: float, moved: float) -> Outcome:
        """The outcome of the fit."""
        if self.outcome != "converged":
            return "unfinished" if self.outcome == "running" else self.outcome
        assert self.certificate is not None
        optimum = self.certificate.optimum
        # rounding of the objective, to first order in eps; `moved` and the loss are known more accurately
        rounding = ROUNDING_UNITS * self.problem.rounding * np.sqrt(objective * self.problem.squared_norm)
        agrees = objective <= (1 + self.tolerance) * optimum + rounding
        reached = self.certificate.loss + moved <= self.tolerance * optimum
        return "converged" if agrees and reached else "undecided"

    def state(self) -> tuple[dict[str, Array], dict[str, float]]:
        """The state after the subspaces so far, as `go_on` takes it: directions of the probe, (l, k), and numbers."""
        numbers = {name: float(getattr(self, name)) for name in _REMEMBERED}
        if self.warm:
            numbers["warm"] = float(self.block or 0)
        if self._probe is None:
            return {}, numbers
        arrays = {"probe": self._probe.vectors}
        return arrays, numbers | {f"probe_{name}": float(getattr(self._probe, name)) for name in _PROBED}

    def go_on(self, arrays: Mapping[str, Array], numbers: Mapping[str, float]) -> None:
        """Remember the subspaces of another run."""
        probed = [f"probe_{name}" for name in _PROBED] if "probe" in arrays else []
        if set(numbers) - {"warm"} != {*_REMEMBERED, *probed} or any(
            type(number) is not float or np.isnan(number) for number in numbers.values()
        ):
            raise ValueError(f"the state of the stopping rule is of another form: {str(dict(numbers))[:80]}")
        for name in _REMEMBERED:
            setattr(self, name, numbers.get(name, 0.0))
        for name in ("_judged", "_idle", "_renewals", "_misses"):
            setattr(self, name, int(getattr(self, name)))
        if "warm" in numbers:
            self.warm, self.block = True, int(numbers["warm"]) or None
        if probed:
            inside, value, residual, above = (numbers[name] for name in probed)
            vectors = arrays_like(arrays, probe=(self.problem.length, "k"))["probe"]
            self._probe = Probe(int(inside), value, residual, above, vectors)
        elif arrays:
            raise ValueError(f"it holds {', '.join(arrays)}, which no fit has written")

    def _verdict(self, pairs: RitzPairs, certificate: Certificate, outcome: Outcome) -> Judgement:
        self.certificate, self.outcome = certificate, outcome
        cancelled = self.problem.cancels(float(pairs.values[: self.rank].sum()))
        return Judgement(certificate.objective, certificate.remaining, outcome, cancelled)

    def _certificate(self, pairs: RitzPairs, noise: float, outside: Outside) -> Certificate:
        objective, rounding = self._objective(pairs, noise)
        return Certificate(objective, self._loss(pairs, noise, outside) + rounding)

    def _objective(self, pairs: RitzPairs, noise: float) -> tuple[float, float]:
        """The objective on the leading pairs, and its rounding; near an exact fit this takes a product with the data."""
        values = pairs.values[: self.rank]
        explained = float(values.sum())
        left_out = self.problem.squared_norm - explained
        if self.problem.cancels(explained):
            # vectors are computed only where they are needed
            left_out = self.problem.left_out(pairs.vectors[:, : self.rank], explained)
        rounding = self.rank * (ROUNDING_UNITS * self.problem.rounding) ** 2 * self.problem.squared_norm
        if not self.problem.cancels(explained):
            # each of the values may be off by as much as its residual
            rounding += self.rank * noise + ROUNDING_UNITS * self.problem.rounding * left_out
        return spectral_objective(left_out, values, self.regularization), rounding

    def _loss(self, pairs: RitzPairs, noise: float, outside: Outside) -> float:
        counted = self.rank + outside.beside
        return loss_bound(pairs.values, pairs.residuals + noise, outside, counted, self.regularization)

    def _nothing_outside(self, pairs: RitzPairs) -> Outside | None:
        """The largest value beyond the rank, where the pairs fill the space; None elsewhere."""
        if pairs.values.size < self.problem.length:
            return None
        return Outside(float(pairs.values[self.rank]) if pairs.guards > 0 else 0.0)

    def _proved_outside(self, pairs: RitzPairs) -> Outside | None:
        """The bound that guards, or an earlier probe of the data, prove."""
        if (nothing := self._nothing_outside(pairs)) is not None:
            return nothing
        if pairs.guards > 0 and not self._is_narrow:
            settled = self._settled_guards(pairs)
            return Outside.guarded(float(settled[-1]), self.problem.length) if settled.size else None
        if self._probe is None or self._probe.inside > min(self.rank, pairs.values.size) + self._settled_count(pairs):
            return None
        proved = self._outside_of_rank(pairs, self._probe.inside, self._probe.above)
        # of another subspace of as many dimensions
        return proved if self._probe.inside <= self.rank else replace(proved, quadratic=2.0)

    def _settled_count(self, pairs: RitzPairs) -> int:
        """Number of the first guards that a probe may leave out: see `_outside_of_rank`.

        Those beside the cut have residuals as small as those that count. Those below have settled, and together lift what lies
        outside by little of their distance.
        """
        beside, lifts = self._told_guards(pairs, self.rank + self._quiet_count(pairs))
        first = self.rank + beside
        little = np.cumsum(lifts) <= LIFTED * _below(pairs, first, first + lifts.size)
        return beside + int(np.argmin(np.append(little, False)))

    def _quiet_count(self, pairs: RitzPairs) -> int:
        """Number of the first guards that have settled or have residuals as small as the last pair that counts."""
        last, residuals = min(self.rank, pairs.values.size) - 1, pairs.residuals[self.rank :]
        settled = residuals <= SETTLED * _below(pairs, self.rank, pairs.values.size)
        alike = residuals <= GUARD_RATIO * pairs.residuals[last]
        return int(np.argmin(np.append(settled | alike, False)))

    def _settled_guards(self, pairs: RitzPairs) -> Array:
        """Values of the guards that are evidence of the eigenvalues outside, descending, (at most guards,).

        A guard that has not settled holds directions with another part outside, and may lie above all that follow.
        So may a direction that the random start itself has not mixed in.
        """
        count = self._quiet_count(pairs) if self._judged > 1 else 0
        return pairs.values[self.rank : self.rank + count]

    def _expected_outside(self, pairs: RitzPairs) -> Outside:
        """Estimate, and no bound, of the largest eigenvalue outside the subspace.

        Without guards it is extrapolated from the residuals: those of subspace iteration shrink by lambda_(d+1) / lambda_d an
        iteration in the end (B. Parlett, The Symmetric Eigenvalue Problem, chapter 14).
        """
        inside = float(pairs.values[: self.rank + GUARD_VECTORS][-1])
        if pairs.guards > 0:
            return Outside(inside)
        if (nothing := self._nothing_outside(pairs)) is not None:
            return nothing
        residual = float(np.linalg.norm(pairs.residuals))
        rate = min(residual / self._last_residual, 1.0) if self._last_residual > 0 else 1.0
        self._last_residual = residual
        # a probe that found a larger one was of a subspace that lacked it
        known = self._probe is not None and self._probe.inside <= pairs.values.size and self._probe.value < inside
        return Outside(max(rate * inside, self._probe.value if known and self._probe else 0.0))

    def _stalled(self, pairs: RitzPairs, noise: float) -> bool:
        """Whether the residuals are at the level of rounding and have stopped falling."""
        residuals = pairs.residuals[: self.rank]
        size = float(np.linalg.norm(residuals))
        if size < self._best:
            self._best, self._idle = size, 0
        else:
            self._idle += 1
        return self._idle >= PATIENCE and float(residuals.max()) <= ROUNDED * noise
