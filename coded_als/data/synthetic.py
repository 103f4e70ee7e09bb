"""Synthetic ratings: problems of known rank, R = U V^T + noise, and graphs like the web.

U, V and the noise are standard normal. A graph has power-law in- and out-degrees, and domains that link within themselves
and to a few others. Its figures are those of Meusel, Vigna, Lehmberg, Bizer, "The Graph Structure in the Web -- Analyzed
on Different Aggregation Levels" (2015): 3,563 million pages on 42.9 million domains, which have 623 million links between
them, and at most 95 million to one page. That most links stay in their domain: Eiron, McCurley, "Locality, hierarchy, and
bidirectionality in the web" (2003).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from coded_als.arrays import Array, Integers
from coded_als.data.ratings import RatingData, csr_from_sorted, distinct, from_matrix, graph_of
from coded_als.errors import UsageError
from coded_als.specs import read_fields

PREFIX = "synthetic:"
# Beyond it the popular places are taken, and drawing at random hardly finds others.
DENSEST_SKEWED = 0.25


@dataclass(frozen=True)
class SyntheticSpec:
    """A matrix to draw."""

    # rows and columns
    m: int
    n: int
    d: int  # rank without noise, at most min(m, n)
    noise: float = 0.0  # standard deviation of the noise on every entry
    seed: int = 0  # equal seeds give equal matrices
    density: float = 1.0  # share of entries that are known; below 1 the matrix is sparse
    # popularity of a sparse matrix's rows and columns: the i-th is drawn with a probability that falls as i^-skew, as
    # long as it has entries left. 0 draws all alike; needs a density of at most 0.25.
    skew: float = 0.0


def parse_synthetic(spec: str) -> SyntheticSpec:
    """Read ``synthetic:m=2400,n=1500,d=200,noise=0.1[,seed=0][,density=0.05][,skew=0.6]``."""
    values = read_fields("matrix", spec, SyntheticSpec, lambda key, text: _value(key, text, spec))
    if values["d"] > min(values["m"], values["n"]):
        raise UsageError(f"d must be at most min(m, n) = {min(values['m'], values['n'])}; got {values['d']}. Lower d.")
    if values.get("skew") and values.get("density", 1.0) > DENSEST_SKEWED:
        raise UsageError(
            f"density must be at most {DENSEST_SKEWED} where skew is not 0; got {spec!r}. Lower density or leave out skew."
        )
    return SyntheticSpec(**values)


def synthetic_ratings(spec: SyntheticSpec) -> RatingData:
    """Draw the matrix: dense at density 1, sparse below, with round(density m n) entries, at least one."""
    source = PREFIX + ",".join(f"{name}={getattr(spec, name)}" for name in SyntheticSpec.__dataclass_fields__)
    try:
        return _draw_dense(spec, source) if spec.density == 1 else _draw_sparse(spec, source)
    except (MemoryError, ValueError, OverflowError):  # NumPy says ValueError above its largest array
        raise UsageError(
            f"a synthetic matrix must fit into memory; got {spec.m} x {spec.n}. Lower m, n or density."
        ) from None


def _draw_dense(spec: SyntheticSpec, source: str) -> RatingData:
    # all memory is reserved before any number is drawn: a problem that does not fit is refused at once
    matrix, left, right = np.empty((spec.m, spec.n)), np.empty((spec.m, spec.d)), np.empty((spec.n, spec.d))
    rng = np.random.default_rng(spec.seed)
    np.matmul(rng.standard_normal(out=left), rng.standard_normal(out=right).T, out=matrix)
    if spec.noise:
        matrix += spec.noise * rng.standard_normal(matrix.shape)
    return from_matrix(matrix, source)


def _draw_sparse(spec: SyntheticSpec, source: str) -> RatingData:
    count = max(1, round(spec.density * spec.m * spec.n))
    values, left, right = np.empty(count), np.empty((spec.m, spec.d)), np.empty((spec.n, spec.d))
    rng = np.random.default_rng(spec.seed)
    rng.standard_normal(out=left)
    rng.standard_normal(out=right)
    rows, columns = np.divmod(np.sort(_places(spec, count, rng)), spec.n)
    step = max(1, 2**22 // spec.d)
    for start in range(0, count, step):
        part = slice(start, start + step)
        values[part] = np.einsum("ed,ed->e", left[rows[part]], right[columns[part]])
    values += spec.noise * rng.standard_normal(count)
    return from_matrix(csr_from_sorted(rows, columns, values, (spec.m, spec.n)), source)


def _places(spec: SyntheticSpec, count: int, rng: np.random.Generator) -> Integers:
    """So many different places of the matrix, numbered row by row."""
    if spec.skew == 0:
        return rng.choice(spec.m * spec.n, count, replace=False, shuffle=False)
    places = np.empty(0, dtype=np.int64)
    while places.size < count:
        more = 1000 + 5 * (count - places.size) // 4
        drawn = _popular(spec.m, spec.skew, more, rng) * spec.n + _popular(spec.n, spec.skew, more, rng)
        places = np.union1d(places, drawn)
    return rng.choice(places, count, replace=False, shuffle=False)


def _popular(number: int, skew: float, count: int, rng: np.random.Generator) -> Integers:
    """``count`` draws of 0 ... number - 1, the i-th with a probability that falls as (i + 1)^-skew."""
    reached = np.cumsum(np.arange(1, number + 1) ** -skew)
    draws: Integers = np.searchsorted(reached[:-1], reached[-1] * rng.random(count), side="right")
    return draws


# type, range in words and range of each parameter
_RULES: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("m", "n", "d"), (int, "a whole number, at least 1", lambda value: value >= 1)),
    **dict.fromkeys(("seed", "domains"), (int, "a whole number, at least 0", lambda value: value >= 0)),
    **dict.fromkeys(("skew", "local"), (float, "a number from 0 to 1", lambda value: 0 <= value <= 1)),
    "nodes": (int, "a whole number, at least 2", lambda value: value >= 2),
    "noise": (float, "a number, at least 0", lambda value: 0 <= value < math.inf),
    "links": (float, "a number above 0", lambda value: 0 < value < math.inf),
    "density": (float, "a number above 0 and at most 1", lambda value: 0 < value <= 1),
}


def _value(key: str, text: str, spec: str) -> Any:
    kind, rule, allows = _RULES[key]
    with suppress(ValueError):
        value = kind(text)
        if allows(value):
            return value
    raise UsageError(f"{key} must be {rule}; got {text!r} in {spec!r}.")


GRAPH_PREFIX = "synthetic-graph:"

# exponents of the densities of in- and out-degrees of the web: Broder et al., "Graph structure in the Web" (2000)
_IN, _OUT = 2.1, 2.7
# a domain's share of the nodes falls with its rank to this power
_DOMAINS = 0.7
# nodes of a domain, on average, and the domains that it links to, at most
_PER_DOMAIN, _LINKED = 83, 15
# share of all nodes that one node may expect links from out of other domains; a small graph, drawn by the power law
# alone, would now and then have a node that half of the others link to
_FAME = 95 / 3563
# links that fall on others are drawn again, at most so often
_DRAWS = 20


@dataclass(frozen=True)
class GraphSpec:
    """A graph to draw."""

    nodes: int  # at least 2
    links: float = 10.0  # links per node, on average
    domains: int = 0  # how many; 0 for one in 83 nodes, at least 2
    # share of the links that stay in their domain; the others go to at most 15 that their domain links to
    local: float = 0.8
    seed: int = 0  # equal seeds give equal graphs


def parse_graph(spec: str) -> GraphSpec:
    """Read ``synthetic-graph:nodes=100000[,links=10][,domains=200][,local=0.8][,seed=0]``."""
    found = GraphSpec(**read_fields("graph", spec, GraphSpec, lambda key, text: _value(key, text, spec)))
    if found.domains > found.nodes:
        raise UsageError(
            f"domains must be at most the nodes; got {found.domains} of {found.nodes} in {spec!r}. Lower domains."
        )
    if found.links > found.nodes / 4:
        raise UsageError(
            f"links must be at most a quarter of the nodes; got {found.links} of {found.nodes} in {spec!r}. Lower links."
        )
    return found


def synthetic_graph(spec: GraphSpec) -> RatingData:
    """Draw the graph: a link has a source by out-weight, and a target in the same domain or in one that it links to.

    Inside a domain a target is drawn by its weight inside, such as that of a home page or an index; from outside by its
    weight outside, which also decides how often its domain is linked to. All weights are Pareto distributed. Links of a
    node to itself are left out and repeated ones drawn again, at most so often; a graph can therefore have a few links
    less than ``links * nodes``.
    """
    source = GRAPH_PREFIX + ",".join(f"{name}={getattr(spec, name)}" for name in GraphSpec.__dataclass_fields__)
    try:
        return _draw(spec, source)
    except (MemoryError, ValueError, OverflowError):  # NumPy says ValueError above its largest array
        raise UsageError(f"a graph must fit into memory; got {spec.nodes} nodes. Lower nodes or links.") from None


@dataclass(frozen=True, eq=False)
class _Targets:
    """Nodes by domain, drawn with weights."""

    nodes: Integers  # (n,) numbers, domain by domain
    running: Array  # (n,) running sum of their weights
    # (domains,) where each domain's part of the sum begins and ends
    begins: Array
    ends: Array

    @classmethod
    def by_weight(cls, domain: Integers, weights: Array) -> _Targets:
        nodes = np.argsort(domain, kind="stable")
        running = np.cumsum(weights[nodes])
        ends = running[np.cumsum(np.bincount(domain)) - 1]
        return cls(nodes, running, np.concatenate(([0.0], ends[:-1])), ends)

    def draw(self, domains: Integers, uniform: Array) -> Integers:
        """A node of each of these domains."""
        begins = self.begins[domains]
        return self.nodes[_pick_at(self.running, begins + uniform * (self.ends[domains] - begins))]


def _draw(spec: GraphSpec, source: str) -> RatingData:
    rng = np.random.default_rng(spec.seed)
    nodes, wanted = spec.nodes, round(spec.links * spec.nodes)
    of_sources = np.cumsum(_pareto(rng, nodes, _OUT))
    domain = _domains(rng, nodes, spec.domains or max(2, nodes // _PER_DOMAIN))
    inside = _Targets.by_weight(domain, _pareto(rng, nodes, _IN))
    fame = _pareto(rng, nodes, _IN)
    fame = np.minimum(fame, fame.sum() * _FAME * nodes / max(1.0, (1 - spec.local) * wanted))
    outside = _Targets.by_weight(domain, fame)
    linked = _pick(outside.ends, rng.random((outside.ends.size, _LINKED)))
    links = np.empty(0, dtype=np.int64)
    for _ in range(_DRAWS):
        missing = wanted - links.size
        if missing <= wanted // 1000:
            break
        sources = _pick(of_sources, rng.random(missing))
        home, point = domain[sources], rng.random(missing)
        away = linked[home, rng.integers(_LINKED, size=missing)]
        stays = rng.random(missing) < spec.local
        targets = np.where(stays, inside.draw(home, point), outside.draw(away, point))
        apart = sources != targets
        links = distinct(np.append(links, sources[apart] * nodes + targets[apart]))
    return graph_of(*np.divmod(links, nodes), np.arange(nodes), source)


def _pareto(rng: np.random.Generator, count: int, exponent: float) -> Array:
    """(count,) numbers from 1, with a density that falls with this exponent."""
    return np.asarray((1 - rng.random(count)) ** (-1 / (exponent - 1)))


def _domains(rng: np.random.Generator, nodes: int, domains: int) -> Integers:
    """(nodes,) the domain of each node, every domain with at least one."""
    weights = np.cumsum(np.arange(1, domains + 1) ** -_DOMAINS)
    chosen = np.concatenate((np.arange(domains), _pick(weights, rng.random(nodes - domains))))
    return np.asarray(rng.permutation(chosen))


def _pick(running: Array, uniform: Array) -> Integers:
    """Places drawn with the weights of which this is the running sum."""
    return _pick_at(running, uniform * running[-1])


def _pick_at(running: Array, points: Array) -> Integers:
    # a point that rounding puts at the very end belongs to the last place
    return np.minimum(np.searchsorted(running, points, side="right"), running.size - 1)
