"""Summaries of fits in words."""

from __future__ import annotations

import click

from coded_als.als.convergence import REMEDIES
from coded_als.cli.reading import read_line
from coded_als.cli.summaries import FitSummary


def print_summary(summary: FitSummary) -> None:
    """Say what a fit came to, and on stderr what it lacks."""
    if line := read_line(summary.get("read")):
        click.echo(line)
    objective = "" if summary["objective"] is None else f": objective {summary['objective']:.10g}"
    rounds = f" ({summary['rounds']} rounds)" if "rounds" in summary else ""
    click.echo(
        f"{summary['method']}, {summary['m']} x {summary['n']} matrix, rank {summary['rank']}{objective} "
        f"after {summary['iterations']} iterations{rounds}"
    )
    timing = f"{summary['seconds']:.2f} s, {1e3 * summary['seconds_per_iteration']:.1f} ms"
    if "policy" in summary:
        clock = summary["clock_of_seconds_per_iteration"]
        click.echo(f"{timing} of {clock} time per iteration; {summary['workers']} workers, policy {summary['policy']}")
    elif "workers" in summary:
        click.echo(
            f"{timing} of {summary['clock_of_seconds_per_iteration']} time per iteration; "
            f"at most {max(summary['responses_per_round'])} of {summary['workers']} workers waited for; "
            f"decoding error at most {summary['max_error_estimate']:.0e} (estimated)"
        )
    else:
        click.echo(f"{timing} per iteration")
    if summary.get("last_change") is not None:
        click.echo(f"the last iteration changed the objective by {summary['last_change']:.1e} of it")
    if remedy := REMEDIES.get(summary.get("outcome", "converged")):
        click.echo(remedy, err=True)
    if left_out := summary.get("left_out"):
        names = ", ".join(map(str, left_out))
        click.echo(f"Responses of worker {names} were wrong and did not count; replace these workers.", err=True)
    if summary["model"] is None:
        click.echo("The model was not saved; add --out MODEL.npz.", err=True)
    else:
        click.echo(f"saved {summary['model']}; next: coded-als recommend {summary['model']} --user ID -n 10")
