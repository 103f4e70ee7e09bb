"""The spread of a fit's data over the workers: D = A^T A in coded shares, or the sparse rows of A in copies."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal, Protocol

from coded_als.als.phases import Phases, Where, phases_at, sooner_at_the_master, store_data, stored_product
from coded_als.als.problem import Extent, Problem
from coded_als.als.rounds import RoundLog
from coded_als.als.sparse_rows import SparseRows, forming_pays
from coded_als.arrays import FLOAT_BYTES, Array
from coded_als.cluster.machine import Machine
from coded_als.codes import Code, Replicated, Uncoded, choose_code, with_partitions
from coded_als.errors import UsageError, readable

# Workers that hold each block of sparse rows, unless the code says otherwise.
COPIES = 3


class HeldData(Protocol):
    """The data of a fit as the workers hold them, and their products with them."""

    def gram_product(self, right: Array) -> Array:
        """D X of (l, b), (l, b)."""
        ...

    def product(self, right: Array) -> Array:
        """A H of (l, d), (rows, d)."""
        ...


@dataclass(frozen=True)
class Spread:
    """What the workers hold.

    Parameters
    ----------
    code
        Tied to the workers: how D is spread, or in how many copies the sparse rows of A are.
    precomputation
        Where D is formed; ``"none"``: nowhere, the workers hold A.
    reason
        Why this code, for people.
    """

    code: Code
    precomputation: Literal["local", "coded", "none"]
    reason: str = field(default="as asked", compare=False)

    def give_out(self, problem: Problem, log: RoundLog, tolerance: float) -> HeldData:
        """Store the data on the workers.

        Parameters
        ----------
        problem
            The data.
        log
            Where its rounds run.
        tolerance
            Estimated relative error that a decoded product may have.

        Raises
        ------
        NotEnoughWorkers, DecodingError
        """
        if self.precomputation == "none":
            return SparseRows.given_out(problem.matrix, log, copies_of(self.code))
        phases = phases_at(self.precomputation, problem, log, self.code, tolerance)
        return FormedGram(problem.length, log, self.code, tolerance, phases)


class FormedGram:
    """Products with D, formed and given out in shares, and the last one where it is there sooner.

    Parameters
    ----------
    length
        Columns l of A.
    log
        Where its rounds run.
    code
        How D is spread.
    tolerance
        Estimated relative error that a decoded product may have.
    phases
        Who forms D.
    """

    def __init__(self, length: int, log: RoundLog, code: Code, tolerance: float, phases: Phases) -> None:
        self._phases = phases
        store_data(log, code, phases.gram())
        self._multiply = stored_product(log, code, length, tolerance, "E = D X")

    def gram_product(self, right: Array) -> Array:
        return self._multiply(right)

    def product(self, right: Array) -> Array:
        return self._phases.last_product(right)


def choose_spread(
    extent: Extent,
    workers: int,
    columns: int,
    code: str,
    partitions: int | None,
    where: Where,
    machine: Machine,
    preferred: Code | None = None,
) -> Spread:
    """What W workers should hold: as asked, and what is left open as counting says.

    D of a sparse A is formed where a code of D is asked for, or where that takes less time.

    Parameters
    ----------
    extent
        Of A.
    workers
        W.
    columns
        Columns of a product.
    code, partitions
        As `coded_als.codes.choose_code` takes them.
    where
        Where D is to be formed.
    machine
        Where all this runs.
    preferred
        The code of D for ``"auto"``, where one is known to be the best, and better than sparse rows.

    Raises
    ------
    UsageError
        For a code that does not fit, or that nothing sparse can be spread by.
    """
    is_sparse, memory = extent.lengths is not None, extent.memory_bytes
    if where == "none":
        if not is_sparse:
            raise UsageError(
                "precomputation 'none' multiplies with the sparse rows of R; got a dense R. "
                "Pass a scipy sparse matrix, or use precomputation='auto'."
            )
        return Spread(rows_code(code, partitions, workers), "none")
    formed = preferred or choose_code(code, partitions, workers, extent.length)
    fits = not is_sparse or (holds_gram(extent.length) and (memory is None or gram_bytes(extent.length) <= memory))
    in_copies = (code == "auto" and partitions is None) or isinstance(formed, (Replicated, Uncoded))
    if where == "auto" and is_sparse and in_copies and not (preferred and fits):
        held = rows_code(code, partitions, workers)
        share, copies = formed.share(workers), copies_of(held)
        if not (fits and forming_pays(extent, workers, copies, share, columns, machine)):
            return Spread(held, "none")
    if not fits:
        raise UsageError(
            f"D = R^T R of a sparse R must fit into memory; it would be dense, {readable(gram_bytes(extent.length))} "
            f"for code {formed.spec}. Use code='auto' or copies (replicated:copies=3), which keep R sparse."
        )
    if where != "auto":
        return Spread(formed, where)
    return Spread(formed, "local" if sooner_at_the_master(extent, formed, workers, machine) else "coded")


def holds_gram(length: int) -> bool:
    """Whether this machine has the memory for D, (l, l).

    Parameters
    ----------
    length
        l.
    """
    return gram_bytes(length) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gram_bytes(length: int) -> int:
    """Bytes of D, (l, l).

    Parameters
    ----------
    length
        l.
    """
    return FLOAT_BYTES * length**2


def rows_code(code: str, partitions: int | None, workers: int) -> Replicated | Uncoded:
    """How sparse rows are spread: in copies, since sums of them are no longer sparse.

    Parameters
    ----------
    code, partitions
        As `coded_als.codes.choose_code` takes them; ``"auto"`` is three copies, or as many as there are workers.
    workers
        W.

    Raises
    ------
    UsageError
        For any other code than copies, and for more copies than workers.
    """
    if code == "auto" and partitions is None:
        return Replicated(min(COPIES, workers))
    found = with_partitions(code, partitions)
    if not isinstance(found, (Replicated, Uncoded)):
        raise UsageError(
            f"sparse rows are held in copies, not coded: a sum of p of them is p times as full; got code {found.spec}. "
            "Use replicated:copies=3 or uncoded, or let D be formed (a dense matrix for an operator)."
        )
    return found.at(workers, 1)


def copies_of(code: Code) -> int:
    """Workers that hold each block of sparse rows."""
    return code.copies if isinstance(code, Replicated) else 1
