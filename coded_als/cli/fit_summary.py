"""Facts about a finished fit, for ``--json`` and for people."""

from __future__ import annotations

from typing import Any

import click

from coded_als.als import CodedALS
from coded_als.als.convergence import REMEDIES
from coded_als.codes import parse_code
from coded_als.data import RatingData


def last_change(objectives: list[float]) -> float | None:
    """What the last iteration changed of the objective, relative to it."""
    if len(objectives) < 2:
        return None
    before, after = objectives[-2:]
    return abs(before - after) / abs(after) if after else None


def facts_of(model: Any, data: RatingData) -> dict[str, Any]:
    """What every method has to tell."""
    return {
        "method": model.kind,
        "ratings": data.source,
        "m": data.shape[0],
        "n": data.shape[1],
        "rank": model.rank,
        "regularization": model.regularization,
        "seed": model.seed,
        "iterations": len(model.history_),
    }


def facts_of_coded(model: CodedALS, data: RatingData, workers: int) -> dict[str, Any]:
    """What the coded method has to tell besides."""
    code = parse_code(model.code_)
    return {
        **facts_of(model, data),
        "solver": model.solver,
        "code": model.code_,
        "precomputation": model.precomputation_,
        "protocol": model.protocol,
        "weighting": model.weighting,
        "workers": workers,
        "recovery_threshold": code.threshold(workers),
        "share_per_worker": code.share(workers),
        "rounds": len(model.rounds_),
        "converged": model.converged_,
        "outcome": model.outcome_,
        "remaining": model.history_[-1].remaining,
        "objective": model.objective_,
        "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
        "left_out": model.left_out_,
        "max_error_estimate": max(record.error_estimate for record in model.rounds_),
        "responses_per_round": [record.responses for record in model.rounds_],
    }


def print_summary(summary: dict[str, Any]) -> None:
    """A few lines of a summary for people."""
    objective = "" if summary["objective"] is None else f": objective {summary['objective']:.10g}"
    rounds = f" ({summary['rounds']} rounds)" if "rounds" in summary else ""
    click.echo(
        f"{summary['method']}, {summary['m']} x {summary['n']} matrix, rank {summary['rank']}{objective} "
        f"after {summary['iterations']} iterations{rounds}"
    )
    timing = f"{summary['seconds']:.2f} s, {1e3 * summary['seconds_per_iteration']:.1f} ms"
    if "workers" in summary:
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
