"""The codes put side by side: of every family the members that make the most of a worker's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coded_als.codes import CODES, Code, Entangled
from coded_als.errors import UsageError


def all_members(workers: int, length: int) -> list[Code]:
    """Every member of every family that W workers and a D of this length allow.

    Parameters
    ----------
    workers
        W.
    length
        l, the side of D.
    """
    found = [code for family in CODES.values() for code in family.candidates(workers)]
    return [code for code in found if _fits(code, workers, length)]


def best_members(workers: int, length: int, limits: Sequence[float]) -> list[Code]:
    """Of each family, and each way to cut, the member that comes nearest to each limit of memory, without passing it.

    Parameters
    ----------
    workers, length
        W, and the side of D.
    limits
        Shares of D that a worker may hold.

    Returns
    -------
    Plain ones first; each kind by its memory, the least first.

    Raises
    ------
    UsageError
        When no code keeps to any limit.
    """
    families: dict[str, list[Code]] = {}
    for code in all_members(workers, length):
        families.setdefault(kind_of(code), []).append(code)
    # those without a code first, and what can do with the least memory
    ordered = sorted(families.values(), key=lambda codes: (codes[0].coded, min(code.share(workers) for code in codes)))
    found = [code for members in ordered for code in _nearest(members, workers, limits)]
    if not found:
        raise UsageError(
            f"memory must hold a share of some code on {workers} workers; got {max(limits):.3g} of the matrix. "
            "Raise it or add workers."
        )
    return found


def copies_limits(workers: int, most: int = 4) -> list[float]:
    """The memory of one copy of everything, of two, ... as shares of D.

    Parameters
    ----------
    workers
        W.
    most
        The largest number of copies.
    """
    return [1 / (workers // copies) for copies in range(1, min(most, workers) + 1)]


def kind_of(code: Code) -> str:
    """What one line of a figure stands for: the family, of the entangled code with its points and its cut."""
    if not isinstance(code, Entangled):
        return code.name
    cut = "h x h" if code.square else "p x 1" if code.r == 1 else "p x r"
    return f"{code.name} {cut}, {code.points}"


def _fits(code: Code, workers: int, length: int) -> bool:
    try:
        code.at(workers, length)
    except UsageError:
        return False
    return True


def _nearest(members: Sequence[Code], workers: int, limits: Sequence[float]) -> Iterator[Code]:
    shares = {code: code.share(workers) for code in members}
    chosen: dict[Code, None] = {}
    for limit in sorted(limits):
        # a share is a fraction of a padded block: an equal one may differ in its last bit
        within = [code for code in members if shares[code] <= limit * (1 + 1e-9)]
        if within:
            chosen[max(within, key=lambda code: (shares[code], -code.threshold(workers)))] = None
    yield from chosen
