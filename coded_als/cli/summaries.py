"""Summaries of fits: the document that ``fit --json`` prints, and the same in words."""

from __future__ import annotations

from typing import Any, Protocol, TypedDict

import click

from coded_als.als import CodedALS
from coded_als.als.convergence import Outcome
from coded_als.cli.reading import read_line
from coded_als.codes import parse_code


class FitSummary(TypedDict, total=False):
    """Results of a fit: of every method down to ``model``, then of a cluster, of codes, and of the other methods."""

    method: str
    ratings: str
    read: dict[str, Any]
    m: int
    n: int
    rank: int | None
    regularization: float | None
    seed: int | None
    iterations: int
    objective: float | None
    converged: bool | None
    seconds: float
    seconds_per_iteration: float
    model: str | None

    workers: int
    cluster: str
    delays: str
    policy: str
    virtual_seconds: float | None
    clock_of_seconds_per_iteration: str

    solver: str
    code: str
    code_reason: str
    precomputation: str
    protocol: str
    weighting: str
    center: str | None
    dtype: str
    recovery_threshold: int | None
    enough_at_best: int
    decoding_tolerance: float
    always_enough_at_tolerance: int | None
    stragglers_tolerated: int | None
    sets_searched: int
    proved: bool
    share_per_worker: float
    rounds: int
    outcome: Outcome
    remedy: str | None
    unique: bool | None
    tied_values: tuple[float, ...]
    remaining: float
    left_out: tuple[int, ...]
    max_error_estimate: float
    responses_per_round: list[int]

    best_iteration: int
    validation: float
    last_change: float | None
    profile: dict[str, float]


class Described(Protocol):
    """Ratings as far as a summary tells of them."""

    @property
    def source(self) -> str:
        """Name of the source, for people."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Users m and items n."""
        ...


def coded_summary(model: CodedALS, data: Described, workers: int, seconds: float) -> FitSummary:
    """Results of a fit with codes; `enough_of` adds how many responses are enough."""
    code, summary = parse_code(model.code_), _summary(model, data, seconds)
    summary.update(
        {
            "solver": model.solver,
            "code": model.code_,
            "code_reason": model.code_reason_,
            "precomputation": model.precomputation_,
            "protocol": model.protocol,
            "weighting": model.weighting,
            "center": model.center,
            "dtype": model.dtype,
            "workers": workers,
            "share_per_worker": code.share(workers),
            "rounds": len(model.rounds_),
            "converged": model.converged_,
            "outcome": model.outcome_,
            "remedy": model.remedy_,
            "unique": model.unique_,
            "tied_values": model.tied_values_,
            "remaining": model.history_[-1].remaining,
            "objective": model.objective_,
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "left_out": model.left_out_,
            "max_error_estimate": max(record.error_estimate for record in model.rounds_),
            "responses_per_round": [record.responses for record in model.rounds_],
        }
    )
    return summary


def profile_of(model: CodedALS) -> dict[str, float]:
    """Seconds of the iterations by their kind: the products of the workers, the wait for them, and the master's own."""
    rounds, products, encoding, decoding = (
        sum(getattr(entry, f"{kind}_s") for entry in model.history_)
        for kind in ("rounds", "products", "encoding", "decoding")
    )
    algebra = sum(entry.seconds for entry in model.history_) - rounds - encoding - decoding
    parts = {"products": products, "waiting": rounds - products, "encoding": encoding, "decoding": decoding}
    return {**parts, "algebra": algebra}


def enough_of(model: CodedALS, workers: int) -> dict[str, Any]:
    """Numbers of responses that are enough for the code of a fit: keys of ``threshold --json`` too."""
    from coded_als.cli.threshold import enough_facts

    return enough_facts(parse_code(model.code_), workers, model.decoding_tolerance)


def sparse_summary(model: Any, data: Described, seconds: float) -> FitSummary:
    """Results of a fit of another method."""
    summary = _summary(model, data, seconds)
    summary["last_change"] = _last_change([entry.objective for entry in model.history_])
    return summary


def _summary(model: Any, data: Described, seconds: float) -> FitSummary:
    return {
        "method": model.kind,
        "ratings": data.source,
        "m": data.shape[0],
        "n": data.shape[1],
        "rank": getattr(model, "rank", None),
        "regularization": getattr(model, "regularization", None),
        "seed": getattr(model, "seed", None),
        "iterations": len(model.history_),
        "objective": model.history_[-1].objective,
        # methods without codes run the iterations they are given, and nothing proves that more would change nothing
        "converged": None,
        "seconds": seconds,
        "seconds_per_iteration": seconds / len(model.history_),
    }


def _last_change(objectives: list[float]) -> float | None:
    """Change of the objective in the last iteration, relative to it."""
    if len(objectives) < 2:
        return None
    before, after = objectives[-2:]
    return abs(before - after) / abs(after) if after else None


def print_summary(summary: FitSummary) -> None:
    """Print the results of a fit, and its shortcomings on stderr."""
    if line := read_line(summary.get("read")):
        click.echo(line)
    objective = "" if summary["objective"] is None else f": objective {summary['objective']:.10g}"
    rounds = f" ({summary['rounds']} rounds)" if "rounds" in summary else ""
    rank = "" if summary["rank"] is None else f", rank {summary['rank']}"
    click.echo(
        f"{summary['method']}, {summary['m']} x {summary['n']} matrix{rank}{objective} "
        f"after {summary['iterations']} iterations{rounds}"
    )
    if "code" in summary:
        click.echo(f"code {summary['code']}, {summary['code_reason']}")
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
    if profile := summary.get("profile"):
        whole = max(sum(profile.values()), 1e-9)
        told = ", ".join(f"{kind} {seconds:.3f} s ({seconds / whole:.0%})" for kind, seconds in profile.items())
        click.echo(f"of the iterations: {told}")
    if summary.get("last_change") is not None:
        click.echo(f"the last iteration changed the objective by {summary['last_change']:.1e} of it")
    if "best_iteration" in summary:
        click.echo(
            f"kept iteration {summary['best_iteration']}, the best on the validation part: {summary['validation']:.4f}"
        )
    if tied := summary.get("tied_values"):
        click.echo(
            f"{len(tied)} singular values are equal at the cut, {tied[0]:.6g}: another choice among their vectors would be as good"
        )
    if remedy := summary.get("remedy"):
        click.echo(remedy, err=True)
    if left_out := summary.get("left_out"):
        names = ", ".join(map(str, left_out))
        click.echo(f"Responses of worker {names} were wrong and did not count; replace these workers.", err=True)
    if summary["model"] is None:
        click.echo("The model was not saved; add --out MODEL.npz.", err=True)
    else:
        click.echo(f"saved {summary['model']}; next: coded-als recommend {summary['model']} --user ID -n 10")
