"""The phases before and after the iterations: D = A^T A, and the other factor A H."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from scipy import sparse

from coded_als.als.problem import Extent, Problem
from coded_als.als.protocols import DATA
from coded_als.als.rounds import AT_WORST, RoundLog, StoredProduct, rule_for
from coded_als.als.startup import gram_at_master_s, gram_on_workers_s
from coded_als.als.updates import symmetric
from coded_als.arrays import Array
from coded_als.cluster import Round
from coded_als.cluster.machine import Machine
from coded_als.cluster.shares import Shares
from coded_als.codes import Code
from coded_als.codes.product import multiplications

GRAM_LEFT, GRAM_RIGHT = "A_left", "A_right"
Where = Literal["auto", "local", "coded", "none"]


class Phases(Protocol):
    """What comes before and after the iterations where D is formed."""

    def gram(self) -> Array:
        """D = A^T A, (l, l)."""
        ...

    def last_product(self, weights: Array) -> Array:
        """A H, (rows, d), of (l, d)."""
        ...


class LocalPhases:
    """Both phases at the master: right for a sparse R, whose Gram matrix costs it little."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def gram(self) -> Array:
        """D = A^T A, (l, l)."""
        product = self._problem.matrix.T @ self._problem.matrix
        return np.asarray(product.toarray() if sparse.issparse(product) else product)

    def last_product(self, weights: Array) -> Array:
        """A H, (rows, d)."""
        return self._problem.image(weights)


class ClusterPhases:
    """D on the workers, and the other factor too where the shares of A that they hold by then serve it."""

    def __init__(self, problem: Problem, log: RoundLog, code: Code, tolerance: float) -> None:
        self._problem, self._log, self._code, self._tolerance = problem, log, code, tolerance
        matrix = problem.matrix
        self._matrix: Array = matrix.toarray() if problem.is_sparse else matrix

    def gram(self) -> Array:
        """D = A^T A, (l, l)."""
        cluster = self._log.cluster
        code = self._code.gram(cluster.size)
        matrix = self._matrix
        cluster.store(GRAM_LEFT, Shares(cluster.size, lambda: code.encode_left(matrix.T)))
        cluster.store(GRAM_RIGHT, Shares(cluster.size, lambda: code.encode_right(matrix)))
        rows, length = self._matrix.shape
        round = Round(
            kernel="product",
            operands=(GRAM_LEFT, GRAM_RIGHT),
            response_shapes=(code.response_shape((length, length)),),
            operations=multiplications(code, (length, rows), length),
            label="D = A^T A",
            dtype=code.dtype,
        )
        responses = self._log.run(round, rule_for(code, self._tolerance, AT_WORST), code)
        return symmetric(code.decode(responses.first(), (length, length), max(self._tolerance, AT_WORST)))

    def last_product(self, weights: Array) -> Array:
        """A H, (rows, d). To send A once more would take longer than the product."""
        code = self._code.last(self._log.cluster.size)
        if code is None:
            return self._problem.image(weights)
        product = StoredProduct(
            self._log, code, GRAM_LEFT, self._matrix.shape, self._tolerance, transposed_shares=True, label="U = A H",
            at_worst=AT_WORST,
        )  # fmt: skip
        found = product(weights)
        if self._log.records[-1].error_estimate > self._tolerance:
            # nothing comes after this product to mend it, and A is here
            return self._problem.image(weights)
        return found


def store_data(log: RoundLog, code: Code, data: Array) -> None:
    """Give every worker its share of D, encoded as it is sent.

    Parameters
    ----------
    log
        Runs the rounds.
    code
        How D is spread.
    data
        D, (l, l).
    """
    product = code.product(log.cluster.size)
    log.cluster.store(DATA, Shares(log.cluster.size, lambda: product.encode_left(data)))


def stored_product(log: RoundLog, code: Code, length: int, tolerance: float, label: str) -> StoredProduct:
    """X -> D X in one round, of the D, (l, l), that `store_data` gave to the workers.

    Where nobody else can respond, it is decoded as well as it can be: a certificate judges what is made of it.

    Parameters
    ----------
    log
        Runs the rounds.
    code
        How D is spread.
    length
        l.
    tolerance
        Relative error that a product may have.
    label
        What its rounds are called.
    """
    product = code.product(log.cluster.size)
    return StoredProduct(log, product, DATA, (length, length), tolerance, label=label, at_worst=AT_WORST)


def phases_at(
    where: Literal["local", "coded"], problem: Problem, log: RoundLog, code: Code, tolerance: float
) -> LocalPhases | ClusterPhases:
    """The phases at the master or on the workers.

    Parameters
    ----------
    where
        Who forms D.
    problem
        The data.
    log
        Runs the rounds.
    code
        How D is spread.
    tolerance
        Relative error that a decoded product may have.
    """
    return LocalPhases(problem) if where == "local" else ClusterPhases(problem, log, code, tolerance)


def sooner_at_the_master(extent: Extent, code: Code, workers: int, machine: Machine) -> bool:
    """Whether A^T A takes the master less than sending everybody his shares of A and waiting for their products.

    Parameters
    ----------
    extent
        Of A.
    code
        How it would be spread.
    workers
        W.
    machine
        Where it would run.
    """
    if extent.held or extent.lengths is not None:
        return not extent.held
    on_workers_s = gram_on_workers_s(code, extent.rows, extent.length, workers, machine)
    return gram_at_master_s(extent.rows, extent.length, machine) <= on_workers_s
