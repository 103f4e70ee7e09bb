"""The products that workers must return, by NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.cluster import Responses, Round, StoppingRule
from coded_als.cluster.questions import EveryPiece

Matrix = NDArray[Any]


def _complex(planes: Matrix) -> Matrix:
    return planes[0] if len(planes) == 1 else planes[0] + 1j * planes[1]


def _planes(matrix: Matrix, count: int) -> Matrix:
    return np.stack([matrix.real, matrix.imag][:count])


def _inner(left: Matrix, right: Matrix) -> Matrix:
    return sum(one.T @ other for one, other in zip(left, right, strict=True))[np.newaxis]


def _rows(data: Matrix, indices: Matrix, indptr: Matrix, columns: int) -> Any:
    return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns)).toarray()


def kernel(name: str, operands: Sequence[Matrix]) -> tuple[Matrix, ...]:
    """The response of a kernel."""
    match name:
        case "product":
            left, right = operands
            return (_planes(_complex(left) @ _complex(right), len(left)),)
        case "transposed_product":
            left, right = operands
            return (_planes(_complex(left).T @ _complex(right), len(left)),)
        case "inner_product":
            left, right = (*operands, operands[0])[:2]
            return (_inner(left, right),)
        case "product_and_gram":
            stored, right, left = (*operands, operands[1])[:3]
            return _planes(_complex(stored) @ _complex(right), len(stored)), _inner(left, right)
        case "scaled":
            return (operands[0] @ operands[1],)
        case "row_product":
            return (_rows(*operands[:3], len(operands[3])) @ operands[3],)
        case "row_gram_product":
            rows = _rows(*operands[:3], len(operands[3]))
            return (rows.T @ (rows @ operands[3]),)
    raise NotImplementedError(name)


def expected_response(
    round: Round, until: StoppingRule, responses: Responses, worker: int, arrays: Mapping[str, Sequence[Matrix]]
) -> tuple[Matrix, ...]:
    """What the response of a worker must be, by the shares that were given out and the payload of this round."""
    payload = () if round.payloads is None else round.payloads[worker]
    operands = [*(np.asarray(arrays[name][worker]) for name in round.operands), *payload]
    if not isinstance(until, EveryPiece):
        return kernel(round.kernel, operands)
    count, start = until.layout.pieces, until.layout.start(worker)
    done = [(start + step) % count for step in range(responses.done[worker])]
    if until.summed:
        return tuple(_part(operands, piece, count) for piece in done)
    (whole,) = kernel(round.kernel, operands)
    height = whole.shape[1]
    rows = [whole[:, piece * height // count : (piece + 1) * height // count] for piece in done]
    return (np.concatenate(rows, axis=1),)


def _part(operands: Sequence[Matrix], piece: int, pieces: int) -> Matrix:
    """A^T A B of the rows of a piece: those whose entries begin with the piece's part of all entries."""
    data, indices, indptr, right = operands
    matrix = _rows(data, indices, indptr, len(right))
    first, last = (int(np.searchsorted(indptr, indptr[-1] * cut // pieces)) for cut in (piece, piece + 1))
    part = matrix[0 if piece == 0 else first : len(matrix) if piece == pieces - 1 else last]
    return part.T @ (part @ right)
