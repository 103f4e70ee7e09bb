"""The plan of a fit: what its workers would hold, from its parameters and the counts of its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coded_als.als.lobpcg import GUARD_VECTORS
from coded_als.als.parameters import check_parameters
from coded_als.als.problem import Extent
from coded_als.als.protocols import square
from coded_als.als.spread import Spread, choose_spread
from coded_als.cluster.machine import Machine
from coded_als.delays import DelayModel
from coded_als.errors import UsageError


def spread_for(
    parameters: Mapping[str, Any],
    extent: Extent,
    workers: int,
    delays: str | DelayModel | None = None,
    machine: Machine | None = None,
) -> Spread:
    """What W workers would hold.

    Parameters
    ----------
    parameters
        Of a `coded_als.CodedALS`.
    extent
        Of A.
    workers
        W.
    delays
        Those that the workers will meet, as far as they are known.
    machine
        Where they run; a common one unless given.

    Raises
    ------
    UsageError
        For parameters that do not fit the data or the workers.
    """
    check_parameters(parameters)
    found, timed = _spread(parameters, extent, workers, delays, Machine() if machine is None else machine)
    if parameters["code"] != "auto" or parameters["partitions"] is not None:
        return found
    if parameters["protocol"] == "paper":
        reason = "the paper's, for its protocol"
    elif timed:
        reason = "the fastest that plan expects under these delays"
    elif found.precomputation == "none":
        reason = "copies, as R^T R of sparse rows is not formed"
    else:
        reason = "no delays are known"
    return replace(found, reason=f"chosen by auto: {reason}")


def _spread(
    parameters: Mapping[str, Any], extent: Extent, workers: int, delays: str | DelayModel | None, machine: Machine
) -> tuple[Spread, bool]:
    """What W workers would hold, and whether its code was timed under the delays."""
    rank = parameters["rank"]
    if rank > extent.length:
        raise UsageError(f"rank must be between 1 and min(rows, columns) = {extent.length}; got {rank}. Lower rank.")
    columns = product_columns(parameters, extent.length)
    code, partitions, where = (parameters[name] for name in ("code", "partitions", "precomputation"))
    if parameters["protocol"] == "fused":
        is_open = code == "auto" and partitions is None and where != "none"
        from coded_als.als.choice import choose  # what times schemes is loaded where one is to be chosen
        from coded_als.als.schemes import Size

        size = Size(extent.rows, extent.length, rank, extent.entries if where == "auto" else None)
        tolerance, known = parameters["decoding_tolerance"], delays if is_open else None
        best = choose(size, workers, parameters["solver"], known, machine, tolerance)
        chosen = None if best is None else best.chosen(size)
        if best is not None and chosen is not None and best.rows:
            return Spread(chosen, "none"), True
        spread = choose_spread(extent, workers, columns, code, partitions, where, machine, chosen)
        return spread, chosen is not None and spread.code == chosen
    if where == "none":
        raise UsageError("protocol 'paper' needs D; got precomputation 'none'. Use protocol='fused'.")
    spread = choose_spread(
        extent, workers, columns, "entangled" if code == "auto" else code, partitions, where, machine
    )
    square(spread.code)
    return spread, False


def product_columns(parameters: Mapping[str, Any], length: int) -> int:
    """Columns of a product: the rank, and for the block iteration its guards.

    Parameters
    ----------
    parameters
        Of a `coded_als.CodedALS`.
    length
        Columns l of A.
    """
    rank: int = parameters["rank"]
    return min(rank + GUARD_VECTORS, length) if parameters["solver"] == "lobpcg" else rank
