"""Shares in pieces: the order of the pieces, and products decoded piece by piece beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.arrays import Array
from coded_als.codes import EntangledPolynomialCode, MatrixCode, ReplicatedProduct, SystematicCode, parse_code
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError


@given(st.integers(1, 40), st.integers(1, 60))
def test_each_worker_goes_once_around_the_circle_of_pieces(workers: int, pieces: int) -> None:
    layout = PieceLayout(workers, pieces)
    for worker in range(workers):
        order = [int(np.flatnonzero(layout.places[worker] == place)[0]) for place in range(pieces)]
        assert order == [(layout.start(worker) + place) % pieces for place in range(pieces)]
    # at equal speeds no piece is ahead of another by more than one answer
    for done in range(pieces + 1):
        counts = layout.counts(dict.fromkeys(range(workers), done))
        assert counts.max() - counts.min() <= 1
        assert counts.sum() == workers * done


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_the_answers_to_a_piece_are_those_of_the_workers_that_have_done_it(
    workers: int, pieces: int, data: st.DataObject
) -> None:
    layout = PieceLayout(workers, pieces)
    done = {w: data.draw(st.integers(0, pieces)) for w in range(workers)}
    expected = [
        tuple(w for w in range(workers) if piece in {(layout.start(w) + k) % pieces for k in range(done[w])})
        for piece in range(pieces)
    ]
    assert list(layout.responded(done)) == expected
    assert layout.counts(done).tolist() == [len(workers) for workers in expected]


@given(st.integers(1, 50), st.integers(1, 50))
def test_the_rows_of_all_pieces_are_those_of_the_share(height: int, pieces: int) -> None:
    layout = PieceLayout(4, pieces)
    rows = [row for piece in range(pieces) for row in range(height)[layout.rows(height, piece)]]
    assert rows == list(range(height))
    assert sorted(row for part in layout.order(3, height, 0, pieces) for row in range(height)[part]) == rows


def answers(code: MatrixCode, layout: PieceLayout, left: Array, right: Array, done: dict[int, int]) -> dict[int, Array]:
    found = {}
    for worker, (a, b) in enumerate(zip(code.encode_left(left), code.encode_right(right), strict=True)):
        if worker in done:
            response = product(a, b)
            rows = layout.order(worker, response.shape[1], 0, done[worker])
            found[worker] = np.concatenate([response[:, part] for part in rows], axis=1)
    return found


def product(a: Array, b: Array) -> Array:
    """Of shares of real or complex planes, by NumPy's own complex numbers."""
    if len(a) == 1:
        return np.asarray(a @ b)
    found = (a[0] + 1j * a[1]) @ (b[0] + 1j * b[1] if len(b) == 2 else b[0])
    return np.stack([found.real, found.imag])


CODES = {
    "systematic": lambda: SystematicCode(4, 1, 7),
    "systematic in columns": lambda: SystematicCode(2, 2, 7),
    "copies": lambda: ReplicatedProduct(3, 1, 1, 7, 2),
    "copies cut three ways": lambda: ReplicatedProduct(2, 2, 1, 9, 2),
    "circle": lambda: EntangledPolynomialCode(3, 1, 1, 7),
    "circle, h x h": lambda: EntangledPolynomialCode(2, 2, 1, 7),
}


@pytest.mark.parametrize("name", CODES)
@settings(max_examples=40)
@given(data=st.data())
def test_any_code_of_rows_decodes_from_pieces(name: str, data: st.DataObject) -> None:
    code = CODES[name]()
    rows, inner, columns = (data.draw(st.integers(1, 23)) for _ in range(3))
    layout = PieceLayout(code.workers, data.draw(st.integers(1, 9)))
    done = {w: data.draw(st.integers(layout.pieces // 2, layout.pieces)) for w in range(code.workers)}
    done = {w: count for w, count in done.items() if count}
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    left, right = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    coded = CodeInPieces(code, layout)
    estimate = coded.error_estimate(done)
    assert (estimate < 1) == all(code.error_estimate(some) < 1 for some in layout.responded(done))
    if estimate < 1e-9:
        found = coded.decode(answers(code, layout, left, right, done), done, (rows, columns), 1e-9)
        off = np.linalg.norm(found - left @ right) / np.linalg.norm(left) / np.linalg.norm(right)
        assert found.shape == (rows, columns)
        assert off <= max(estimate, 1e-15)


@pytest.mark.parametrize(("workers", "p", "rounds"), [(12, 6, 60), (30, 15, 30), (60, 40, 6), (200, 150, 1)])
def test_no_product_is_worse_than_its_estimate(workers: int, p: int, rounds: int) -> None:
    """Random progress of all workers, some of them dead, from p answers to each piece on."""
    code, layout = SystematicCode(p, 1, workers), PieceLayout(workers, workers)
    coded, rng = CodeInPieces(code, layout), np.random.default_rng(workers)
    left, right = rng.standard_normal((p * workers, 8)), rng.standard_normal((8, 3))
    shares = [share[0] @ right for share in code.encode_left(left)]
    for _ in range(rounds):
        speeds = rng.lognormal(0, 0.5, workers) * (rng.random(workers) > 0.1)
        for scale in np.arange(0.1, 5, 0.05) * workers:
            done = {w: min(workers, int(scale * speeds[w])) for w in range(workers) if int(scale * speeds[w])}
            if done and layout.counts(done).min() >= p:
                break
        got = {
            w: np.concatenate([shares[w][None, part] for part in layout.order(w, workers, 0, k)], 1)
            for w, k in done.items()
        }
        found = coded.decode(got, done, (p * workers, 3))
        off = np.linalg.norm(found - left @ right) / np.linalg.norm(left) / np.linalg.norm(right)
        assert off <= coded.error_estimate(done) < 1e-9


def test_too_few_answers_to_one_piece_are_refused() -> None:
    code = CodeInPieces(SystematicCode(2, 1, 3), PieceLayout(3, 3))
    got = {0: np.ones((1, 3, 1)), 1: np.ones((1, 2, 1))}
    with pytest.raises(NotEnoughWorkers, match="responded to one of the pieces"):
        code.decode(got, {0: 3, 1: 2}, (6, 1))
    assert code.error_estimate({}) == np.inf
    with pytest.raises(DecodingError):
        code.decode({0: got[0], 1: got[0]}, {0: 3, 1: 3}, (6, 1), 1e-30)


def test_the_number_of_pieces_is_written_in_the_spec() -> None:
    assert parse_code("systematic:p=4,pieces=12").pieces == 12
    assert parse_code("systematic:p=4,pieces=12").spec == "systematic:p=4,pieces=12"
    assert parse_code("systematic:p=4").pieces is None
    assert parse_code("entangled:h=2").pieces == 1
    for text in ("0", "1.5", "all"):
        with pytest.raises(UsageError, match="pieces must be a whole number of at least 1"):
            parse_code(f"systematic:pieces={text}")
