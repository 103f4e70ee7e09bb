"""The code of a fit that names none.

Where shares come in pieces, the time of a round hardly depends on p: p decides how much memory a share takes, and how many
workers may be missing. So the choice needs no delays; a worker stores as much as with two copies of D. Rounds too
short for pieces end with whole shares, and with these p decides the time too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from coded_als.cluster.machine import Machine
from coded_als.codes import CodeSpec, Replicated, Systematic, Uncoded
from coded_als.codes.replication import copies_of
from coded_als.errors import UsageError
from coded_als.planner.schemes import Scheme, Size, block_bytes

# Fewer workers have none to spare: one of two that is late is waited for, or each of them stores all of D.
FEWEST_CODED = 3
# Copies of sparse rows, which are small, and copies of D whose memory the shares of a code may take.
ROW_COPIES, GRAM_COPIES = 3, 2
SHORT = "rounds are too short for shares in pieces, so a quarter of the workers is spare"
FEW = f"no code, as that needs {FEWEST_CODED} workers or more"
TIMED = "the fastest that plan expects under these delays, in the memory of two copies of D"
ROWS = "copies of sparse rows, as R^T R is not formed"


@dataclass(frozen=True)
class ChosenCode:
    """A code that was chosen, and the reason."""

    code: CodeSpec  # tied to the workers
    reason: str  # for people
    pieces: int = 1  # of each share; 1 for whole shares
    rows: bool = False  # whether it is of the sparse rows of R, and D is not formed
    timed: bool = False  # whether it was compared with others under known delays

    def beside(self, timed: Scheme | None, size: Size) -> ChosenCode:
        """The same, or the fastest scheme under known delays where these decide: not if shares of D come in pieces."""
        if timed is None or (self.pieces > 1 and not timed.rows):
            return self
        return ChosenCode(timed.chosen(size), TIMED, rows=timed.rows, timed=True)


def default_choice(
    size: Size, workers: int, solver: str, machine: Machine, memory_bytes: float = math.inf
) -> ChosenCode:
    """The code on W workers of which no delays are known, each with so much memory: of D, unless they only hold sparse rows.

    Raises UsageError where the workers together cannot hold either.
    """
    try:
        return _gram_choice(size, workers, solver, machine, memory_bytes)
    except UsageError:
        if size.entries is None:
            raise
        return ChosenCode(default_row_copies(workers, block_bytes(size, 1), memory_bytes), ROWS, rows=True)


def _gram_choice(size: Size, workers: int, solver: str, machine: Machine, memory_bytes: float) -> ChosenCode:
    held = fewest_blocks(size.length, workers, memory_bytes)
    if workers < FEWEST_CODED:
        return ChosenCode(Uncoded(), FEW)
    half = min(size.length, -(-workers // GRAM_COPIES))
    if held >= workers:
        return ChosenCode(Uncoded(), f"no code, as memory_per_worker has room for 1/{workers} of D only")
    code = Systematic(max(half, held)).bind(workers, size.length)
    pieces = Scheme(code.spec, workers, solver=solver).pieces(size, machine)
    if pieces > 1:
        memory = "the memory of two copies" if held <= half else f"memory_per_worker, which has room for 1/{held} of D"
        spare = f"any {code.threshold(workers)} of {workers} workers are enough"
        return ChosenCode(code, f"{spare}, in {memory}; a slow worker counts with its finished pieces", pieces)
    reserve = Systematic().bind(workers, size.length)
    if held > reserve.threshold(workers):
        return ChosenCode(Systematic(held), f"memory_per_worker has room for 1/{held} of D")
    return ChosenCode(reserve, SHORT)


def fewest_blocks(length: int, workers: int, memory_bytes: float) -> int:
    """The fewest blocks of D, (l, l), of which a worker has the memory for one."""
    one_row = Scheme("uncoded", 1).storage_bytes(Size(length, length, 1)) // length
    rows = min(length, int(min(memory_bytes, one_row * length) // one_row))
    blocks = -(-length // rows) if rows else math.inf
    if blocks > workers:
        raise UsageError(
            f"memory_per_worker must hold 1/{workers} of D, {-(-length // workers) * one_row:,} bytes; got "
            f"{memory_bytes:,.0f}. Add workers or memory."
        )
    return int(blocks)


def default_row_copies(workers: int, block: float = 0.0, memory_bytes: float = math.inf) -> Replicated:
    """The copies of sparse rows on W workers: three, or as many as their memory holds.

    ``block``: bytes of all rows, as one block.
    """
    for copies in range(min(ROW_COPIES, workers), 0, -1):
        if block / (workers // copies) <= memory_bytes:
            return Replicated(copies)
    raise UsageError(
        f"memory_per_worker must hold 1/{workers} of the sparse rows, {block / workers:,.0f} bytes; got "
        f"{memory_bytes:,.0f}. Add workers or memory."
    )


def affordable(contestants: Iterable[Scheme], size: Size, memory_bytes: float) -> Iterator[Scheme]:
    """The schemes that `auto` may take: no more memory than two copies of D, or three of sparse rows, and no more than given."""
    for scheme in contestants:
        with suppress(UsageError):  # of a scheme that does not fit the matrix
            if _in_few_copies(scheme) and scheme.storage_bytes(size) <= memory_bytes:
                yield scheme


def _in_few_copies(scheme: Scheme) -> bool:
    if scheme.rows:
        return copies_of(scheme.family) <= ROW_COPIES
    # a share is a fraction of a padded block: an equal one may differ in its last bit
    return scheme.family.share(scheme.workers) <= (1 + 1e-9) / max(1, scheme.workers // GRAM_COPIES)
