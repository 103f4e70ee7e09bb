"""``coded-als threshold``: how many responses a code waits for, and what it tolerates."""

from __future__ import annotations

import sys
from typing import Any

import click

from coded_als.cli.common import CODE_SPECS, print_json
from coded_als.codes import Code, Entangled, largest_partitions, with_partitions
from coded_als.errors import UsageError

# Up to so many the factorisation that the estimate takes is a matter of a second.
ESTIMATED_COEFFICIENTS = 2**19


@click.command("threshold", epilog=CODE_SPECS)
@click.option("--code", "spec", default="entangled", show_default=True, help="A code SPEC as below.")
@click.option("--partitions", type=int, help="h of the entangled code.  [default: the largest that the workers allow]")
@click.option("--workers", type=int, help="Workers W.  [default: the threshold itself]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(spec: str, partitions: int | None, workers: int | None, as_json: bool) -> None:
    """How many responses a round waits for, and how many stragglers it tolerates."""
    code = _chosen(with_partitions(spec, partitions), workers)
    facts = _facts(code, code.fewest_workers if workers is None else workers)
    if as_json:
        print_json(facts)
        return
    click.echo(
        f"{facts['recovery_threshold']} of {facts['workers']} workers suffice with {facts['code']}: "
        f"{facts['stragglers_tolerated']} stragglers tolerated"
    )
    paper, estimate = facts["paper_threshold"], facts["error_estimate_all_workers"]
    error = f"about {estimate:.0e}" if estimate is not None else "not estimated for a code this large"
    click.echo(
        f"each worker stores {100 * facts['share_per_worker']:.3g} % of the matrix; "
        + (f"the paper's real code waits for {paper}; " if paper else "")
        + f"decoding error with all workers {error}"
    )


def _chosen(code: Code, workers: int | None) -> Code:
    """The code with nothing left open."""
    if workers is None:
        if code.at(code.fewest_workers, sys.maxsize) != code:
            raise UsageError(
                f"threshold needs --workers for a code that leaves its parts open; got {code.spec}. Give --workers, "
                "--partitions or parts in --code."
            )
        return code
    if workers < 1:
        raise UsageError(f"workers must be at least 1; got {workers}. Add workers.")
    if isinstance(code, Entangled) and not code.fixed:
        code = with_partitions(code.spec, largest_partitions(workers, code.points))
    return code.at(workers, sys.maxsize)


def _estimate(code: Code, workers: int) -> float | None:
    """Error of decoding from everybody; None where it would take long to tell."""
    if workers * code.threshold(workers) > ESTIMATED_COEFFICIENTS:
        return None
    return code.product(workers).error_estimate(range(workers))


def _facts(code: Code, workers: int) -> dict[str, Any]:
    threshold, share = code.threshold(workers), code.share(workers)
    evaluations = code.cut[0] * code.cut[1] + code.cut[1] - 1 if isinstance(code, Entangled) else None
    return {
        "code": code.spec,
        "workers": workers,
        "recovery_threshold": threshold,
        "stragglers_tolerated": workers - threshold,
        "paper_threshold": evaluations,
        "share_per_worker": share,
        "redundancy": workers * share,
        "error_estimate_all_workers": _estimate(code, workers),
    }
