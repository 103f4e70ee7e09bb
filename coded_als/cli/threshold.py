"""``coded-als threshold``: how many answers a code waits for, and what it tolerates."""

from __future__ import annotations

import click

from coded_als.cli.common import print_json
from coded_als.codes import EntangledPolynomialCode, PointFamily, iteration_threshold, largest_partitions
from coded_als.errors import UsageError

# Up to so many the factorisation that the estimate takes is a matter of a second.
ESTIMATED_COEFFICIENTS = 2**21


@click.command("threshold")
@click.option("--partitions", type=int, help="Parts h.  [default: the largest that the workers allow]")
@click.option("--workers", type=int, help="Workers W.  [default: the threshold itself]")
@click.option("--points", type=click.Choice(["circle", "real", "equispaced"]), default="circle", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(partitions: int | None, workers: int | None, points: PointFamily, as_json: bool) -> None:
    """How many answers an iteration waits for, and how many stragglers it tolerates."""
    if partitions is None and workers is None:
        raise UsageError("threshold needs --partitions or --workers; got neither. Give one of them.")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1; got {workers}. Add workers.")
    h = largest_partitions(workers, points) if partitions is None and workers is not None else partitions
    assert h is not None
    needed = iteration_threshold(h, points)
    size = needed if workers is None else workers
    if size < needed:
        raise UsageError(
            f"workers must be at least {needed}, the recovery threshold at partitions={h} with {points} points; "
            f"got {size}. Add workers or lower partitions to {largest_partitions(size, points)}."
        )
    planes = 2 if points == "circle" else 1
    estimate = None
    if size * planes * (h * h + h - 1) <= ESTIMATED_COEFFICIENTS:
        estimate = EntangledPolynomialCode(h, h, 1, size, points).error_estimate(range(size))
    facts = {
        "partitions": h,
        "workers": size,
        "points": points,
        "recovery_threshold": needed,
        "stragglers_tolerated": size - needed,
        "paper_threshold": h * h + h - 1,
        "share_of_matrix_per_worker": planes / h**2,
        "redundancy": size * planes / h**2,
        "error_estimate_all_workers": estimate,
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{needed} of {size} workers suffice at h = {h} ({points} points): {size - needed} stragglers tolerated")
    error = f"about {estimate:.0e}" if estimate is not None else "not estimated for a code this large"
    click.echo(
        f"each worker stores {100 * planes / h**2:.3g} % of the matrix; the paper's real code waits for {h * h + h - 1}; "
        f"decoding error with all workers {error}"
    )
