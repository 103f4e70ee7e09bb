"""``coded-als threshold``: the responses that are always enough for a code, those at best, and the stragglers that it tolerates."""

from __future__ import annotations

import sys
from typing import Any

import click
import numpy as np

from coded_als.checks import require_number
from coded_als.cli.common import print_json
from coded_als.cli.help import CommandWithExamples
from coded_als.codes import CodeSpec, Entangled, Systematic, asked_code, default_code, largest_partitions
from coded_als.codes.survivors import Enough, enough_by_structure, enough_for
from coded_als.errors import UsageError

# Up to so many the factorization that an estimate takes is a matter of a second, and a search one of some.
ESTIMATED_COEFFICIENTS, SEARCHED_COEFFICIENTS = 2**19, 2**17
# Sets of each size that a search looks at, at most and at least, and operations that all their factorizations may take.
MOST_SETS, FEWEST_SETS, SEARCH_OPERATIONS = 300, 60, 3e9


@click.command(
    "threshold", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als threshold --code systematic:p=21 --workers 30",
        "coded-als threshold --code entangled:h=4 --workers 30",
    ),
)  # fmt: skip
@click.option("--code", "spec", default="entangled", show_default=True, metavar="SPEC", help="The code.")
@click.option("--partitions", type=int, help="h of the entangled code.  [default: the largest that the workers allow]")
@click.option("--workers", type=int, help="Number of workers.  [default: the threshold itself]")
@click.option(
    "--decoding-tolerance", type=float,
    help="Relative error that a decoded product may have.  [default: that of the code]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    spec: str, partitions: int | None, workers: int | None, decoding_tolerance: float | None, as_json: bool
) -> None:
    """Count the responses that a code needs.

    Two numbers are printed: the responses that always suffice, and those that suffice at best. The remaining workers may
    be stragglers.
    """
    code = _chosen(asked_code(spec, partitions) or default_code(), workers)
    if decoding_tolerance is not None:
        require_number("decoding_tolerance", decoding_tolerance)
    facts = _facts(code, code.fewest_workers if workers is None else workers, decoding_tolerance)
    if as_json:
        print_json(facts)
        return
    click.echo(_counts(facts))
    paper, estimate = facts["paper_threshold"], facts["error_estimate_all_workers"]
    error = f"about {estimate:.0e}" if estimate is not None else "not estimated for a code this large"
    click.echo(
        f"each worker stores {100 * facts['share_per_worker']:.3g} % of the matrix; "
        + (f"the paper's real code waits for {paper}; " if paper else "")
        + f"decoding error with all workers {error}"
    )


def _counts(facts: dict[str, Any]) -> str:
    """The numbers of responses in words."""
    workers, code, least = facts["workers"], facts["code"], facts["recovery_threshold"]
    always, tolerance = facts["always_enough_at_tolerance"], facts["decoding_tolerance"]
    at_best = "" if facts["enough_at_best"] == least else f"; {facts['enough_at_best']} are enough at best"
    if always is None and facts["sets_searched"] == 0:
        known = least is not None
        return (
            f"{least if known else 'an unknown number'} of {workers} workers are always enough to decode with {code}{at_best}\n"
            f"how many are always enough to decode to {tolerance:.0e} is not searched for a code this large"
        )
    if always is None:
        return f"not even all {workers} workers decode to {tolerance:.0e} with {code}: no straggler is tolerated"
    searched = "" if facts["proved"] else f", found by search over {facts['sets_searched']} sets"
    counts = (
        f"{always} of {workers} workers are always enough with {code}: "
        f"{facts['stragglers_tolerated']} stragglers tolerated{at_best}"
    )
    if always == least and facts["proved"]:
        return counts
    return (
        f"{counts}\nthat is to decode to {tolerance:.0e}{searched}; {least} are always enough to decode to some error"
    )


def _chosen(code: CodeSpec, workers: int | None) -> CodeSpec:
    """The code with nothing left open."""
    if workers is None:
        if code.bind(code.fewest_workers, sys.maxsize) != code:
            raise UsageError(
                f"threshold needs --workers for a code that leaves its parts open; got {code.spec}. Give --workers, "
                "--partitions or parts in --code."
            )
        return code
    if workers < 1:
        raise UsageError(f"workers must be at least 1; got {workers}.")
    if isinstance(code, Entangled) and not code.fixed:
        code = code.partitioned(largest_partitions(workers, code.points))
    return code.bind(workers, sys.maxsize)


def _estimate(code: CodeSpec, workers: int) -> float | None:
    """Error of decoding from everybody; None where it would take long to tell."""
    if workers * code.threshold(workers) > ESTIMATED_COEFFICIENTS:
        return None
    return code.for_product(workers).error_estimate(range(workers))


def _facts(code: CodeSpec, workers: int, decoding_tolerance: float | None) -> dict[str, Any]:
    share = code.share(workers)
    evaluations = code.cut[0] * code.cut[1] + code.cut[1] - 1 if isinstance(code, Entangled) else None
    return {
        "code": code.spec,
        "workers": workers,
        **enough_facts(code, workers, decoding_tolerance),
        "paper_threshold": evaluations,
        "share_per_worker": share,
        "redundancy": workers * share,
        "error_estimate_all_workers": _estimate(code, workers),
    }


def enough_facts(code: CodeSpec, workers: int, decoding_tolerance: float | None) -> dict[str, Any]:
    """How many responses are enough: always to decode, always to the tolerance, and at best."""
    tolerance = code.tolerance if decoding_tolerance is None else decoding_tolerance
    size = code.threshold(workers)
    if code.coded and workers * size > SEARCHED_COEFFICIENTS:
        # any so many decode with the codes of this package; of one of your own nothing is known
        known = isinstance(code, (Entangled, Systematic))
        return _enough(Enough(workers, size, size if known else None, 0, known, np.nan), None, tolerance)
    product, sets = (
        code.for_product(workers),
        max(FEWEST_SETS, min(MOST_SETS, int(SEARCH_OPERATIONS / (size**2 * workers)))),
    )
    return _enough(enough_by_structure(product, sets), enough_for(product, tolerance, sets), tolerance)


def _enough(structure: Enough, enough: Enough | None, tolerance: float) -> dict[str, Any]:
    return {
        "recovery_threshold": structure.always,
        "enough_at_best": structure.at_best,
        "decoding_tolerance": tolerance,
        "always_enough_at_tolerance": None if enough is None else enough.always,
        "stragglers_tolerated": None if enough is None else enough.tolerated,
        "sets_searched": 0 if enough is None else enough.looked_at,
        "proved": enough is not None and enough.proved,
    }
