"""Edge lists and drawn graphs: what is read, what is refused, and the degrees that a graph like the web has."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.data import load_ratings
from coded_als.errors import UsageError


def links_of(data):
    rows, columns, values = data.triples()
    assert (values == 1).all()
    return set(zip(data.user_ids[rows].tolist(), data.item_ids[columns].tolist(), strict=True))


@pytest.mark.parametrize("delimiter", ["\t", ",", " ", "  \t"])
@pytest.mark.parametrize("name", ["graph.txt", "graph.txt.gz"])
def test_an_edge_list(tmp_path, delimiter, name):
    text = "# FromNodeId\tToNodeId\n7 9\n7 12\n\n  % a remark, in between\n12 7\n7 9\n9 9\n"
    lines = [line if "#" in line or "%" in line else line.replace(" ", delimiter) for line in text.split("\n")]
    path = tmp_path / name
    text = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    data = load_ratings(f"edges:{path}")
    assert links_of(data) == {(7, 9), (7, 12), (12, 7), (9, 9)}
    assert data.user_ids.tolist() == data.item_ids.tolist() == [7, 9, 12]
    assert data.matrix.has_canonical_format


def test_nodes_are_text_where_one_of_them_is(tmp_path):
    path = tmp_path / "graph"
    path.write_text("1 2\n2 é\n01 1\n")
    data = load_ratings(f"edges:{path}")
    assert links_of(data) == {("1", "2"), ("2", "é"), ("01", "1")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n\n", "at least one line `source target`; graph.txt has none"),
        (b"", "at least one line `source target`"),
        (b"# one\n1 2\n1 2 3\n", "must have 2 fields like the first; got 3 in line 3"),
        (b"# one\n1 2\n\n4\n", "must have 2 fields like the first; got 1 in line 4"),
        (b"1\t2\n\t3\n", "field 1 must not be empty"),
        (b"a \xff\n", "ids must be UTF-8 text"),
        (b"1 2\0\n", "zero byte in line 1"),
    ],
)
def test_what_is_no_edge_list(tmp_path, content, message):
    path = tmp_path / "graph.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_ratings(f"edges:{path}")
    assert message in str(caught.value)


@settings(max_examples=30)
@given(nodes=st.integers(8, 200), links=st.floats(0.5, 2), local=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_drawn_graph_is_what_was_asked_for(nodes, links, local, seed):
    spec = f"synthetic-graph:nodes={nodes},links={links},local={local},seed={seed}"
    data = load_ratings(spec)
    assert data.shape == (nodes, nodes)
    assert 0.5 * links * nodes <= data.entries <= round(links * nodes)
    assert not data.matrix.diagonal().any()
    assert (data.matrix != load_ratings(spec).matrix).nnz == 0


def test_a_graph_like_the_web():
    data = load_ratings("synthetic-graph:nodes=20000,links=10,domains=40,local=0.9")
    assert data.entries == pytest.approx(200_000, rel=2e-3)
    matrix = data.matrix.astype(bool).astype(float)
    # a few have many of the links: by chance a hundredth of the nodes would have less than 0.02 of them
    for axis, least in ((0, 0.16), (1, 0.08)):
        degrees = np.sort(matrix.sum(axis=axis))[::-1]
        assert degrees[:200].sum() > least * degrees.sum()
    # neighbours have neighbours in common beside those that all have, and do not where no link is local
    apart = load_ratings("synthetic-graph:nodes=20000,links=10,domains=40,local=0").matrix
    triangles = []
    for one in (matrix, apart):
        rare = one[:, np.asarray(one.sum(axis=0)).ravel() <= 50]
        triangles.append((rare @ rare.T).multiply(one).sum())
    assert triangles[0] > 3 * triangles[1]


def tail(degrees: np.ndarray, least: int) -> tuple[float, float, float]:
    """Exponent of a power law from ``least`` on by maximum likelihood, its distance, and that of a geometric law."""
    degrees = np.sort(degrees[degrees >= least])
    values = np.arange(least, 50 * degrees[-1])
    # Clauset, Shalizi, Newman, "Power-law distributions in empirical data" (2009), (3.7)
    exponent = 1 + degrees.size / np.log(degrees / (least - 0.5)).sum()
    geometric = np.log1p(1 / (degrees.mean() - least))
    observed = np.searchsorted(degrees, values, side="right") / degrees.size
    laws = (values**-exponent, np.exp(-geometric * (values - least)))
    power, other = (float(np.abs(np.cumsum(law) / law.sum() - observed).max()) for law in laws)
    return float(exponent), power, other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_degrees_follow_power_laws(seed):
    data = load_ratings(f"synthetic-graph:nodes=20000,seed={seed}")
    ins, outs = np.bincount(data.matrix.indices, minlength=20_000), np.diff(data.matrix.indptr)
    for degrees, lowest, highest in ((ins, 2.1, 2.8), (outs, 2.7, 3.4)):
        exponent, power, geometric = tail(degrees, 20)
        assert lowest < exponent < highest
        assert power < 0.05
        assert geometric > 3 * power
        assert degrees.max() > 20 * degrees.mean()
    # but no node that everybody links to
    assert ins.max() < 0.1 * 20_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "graph 'synthetic-graph' needs nodes"),
        ("links=3", "needs nodes"),
        ("nodes=1", "nodes must be a whole number, at least 2; got '1'"),
        ("nodes=1e5", "nodes must be a whole number"),
        (f"nodes=100,domains={'9' * 400}", "domains must be"),
        ("nodes=100,links=0", "links must be a number above 0"),
        ("nodes=100,links=nan", "links must be a number above 0"),
        ("nodes=100,links=26", "links must be at most a quarter of the nodes"),
        ("nodes=100,domains=101", "domains must be at most the nodes"),
        ("nodes=100,local=1.1", "local must be a number from 0 to 1"),
        ("nodes=100,seed=-1", "seed must be a whole number, at least 0"),
        ("nodes=100,degree=3", "takes nodes, links, domains, local, seed; got 'degree'"),
        ("nodes=1000000000000000", "must fit into memory"),
    ],
)
def test_what_is_no_graph(fields, message):
    with pytest.raises(UsageError) as caught:
        load_ratings(f"synthetic-graph:{fields}")
    assert message in str(caught.value)
