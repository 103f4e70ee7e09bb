"""Seconds until the workers hold D: where D = A^T A is computed sooner, its encoding, and sending the shares."""

from __future__ import annotations

import math

import numpy as np

from coded_als.arrays import FLOAT_BYTES
from coded_als.cluster.machine import Machine
from coded_als.cluster.waiting import RoundCost
from coded_als.codes import Code
from coded_als.codes.product import multiplications

# Of D = A^T A of a sparse A, in multiplications of a dense product: for each pair of entries in a row, and for each entry
# of the result (measured: 5 and 30 ns).
PAIR_OPERATIONS, FORMED_OPERATIONS = 50.0, 300.0


def gram_at_master_s(rows: int, length: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a dense A, (rows, l), at the master: a symmetric rank-k update, half the product.

    Parameters
    ----------
    rows
        Rows of A.
    length
        Columns l of A, the side of D.
    machine
        Master, workers and the link between them.
    """
    return machine.computing_s(rows * length**2 / 2)


def sparse_gram_s(pairs: float, length: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a sparse A at the master.

    Parameters
    ----------
    pairs
        Of entries in a row, over all rows.
    length
        Columns l of A.
    machine
        Whose speed counts.
    """
    return machine.computing_s(PAIR_OPERATIONS * pairs + FORMED_OPERATIONS * length**2)


def summed_gram_s(pairs: float, length: int, blocks: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a sparse A whose blocks of rows lie apart: one of each, summed up in a tree.

    Parameters
    ----------
    pairs
        Of entries in a row, over all rows.
    length
        Columns l of A.
    blocks
        How many there are.
    machine
        Whose speeds count.
    """
    levels = math.ceil(math.log2(blocks)) if blocks > 1 else 0
    sent_s = machine.sending_s(1, FLOAT_BYTES * length**2)
    # the sum is sent once more, to the master
    return (
        sparse_gram_s(pairs / blocks, length, machine) + levels * machine.computing_s(length**2) + (levels + 1) * sent_s
    )


def gram_on_workers_s(code: Code, rows: int, length: int, workers: int, machine: Machine) -> float:
    """Seconds of A^T A on W workers that nothing delays: encoding A twice, sending both shares, one round, decoding.

    Parameters
    ----------
    code
        Tied to the workers.
    rows, length
        Of A.
    workers, machine
        Who computes.
    """
    gram = code.gram(workers)
    left, right = gram.left_shape((length, rows)), gram.right_shape((rows, length))
    shares_bytes = gram.dtype.itemsize * (math.prod(left) + math.prod(right))
    response_bytes = gram.dtype.itemsize * math.prod(gram.response_shape((length, length)))
    round = RoundCost(multiplications(gram, (length, rows), length), 0.0, response_bytes)
    responses = round.response_s(np.zeros((1, workers)), machine)[0]
    encoding = sum(gram.encoded_planes) * rows * length
    return (
        machine.computing_s(encoding + gram.decoded_planes * length**2)
        + machine.giving_s(workers, shares_bytes)
        + float(np.sort(responses)[gram.recovery_threshold - 1])
    )


def gram_s(code: Code, rows: int, length: int, workers: int, machine: Machine) -> float:
    """Seconds of D = A^T A where that takes less.

    Parameters
    ----------
    code
        Tied to the workers.
    rows
        Rows of A.
    length
        Columns l of A, the side of D.
    workers
        W.
    machine
        Master, workers and the link between them.
    """
    local_s = gram_at_master_s(rows, length, machine)
    return min(local_s, gram_on_workers_s(code, rows, length, workers, machine))


def sharing_s(code: Code, length: int, workers: int, machine: Machine) -> float:
    """Seconds of encoding D, (l, l), and sending every worker its share.

    Parameters
    ----------
    code
        Tied to the workers.
    length
        Columns l of A, the side of D.
    workers
        W.
    machine
        Master, workers and the link between them.
    """
    product = code.product(workers)
    share_bytes = product.dtype.itemsize * math.prod(product.left_shape((length, length)))
    encoding_s = machine.computing_s(product.encoded_planes[0] * length**2)
    return encoding_s + machine.giving_s(workers, share_bytes)
