"""``coded-als codes``: the codes side by side on your workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.clusters import machine_from, takes_machine
from coded_als.cli.common import SIZE, print_json, progress
from coded_als.cli.help import CommandWithExamples
from coded_als.codes import parse_code
from coded_als.delays import require_workers
from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import readable_delays
from coded_als.experiments.text_tables import as_text

if TYPE_CHECKING:
    from coded_als.experiments.code_survey import CodeRow, Setting

# Rounds and sets of survivors for up to so many workers; beyond, each takes much longer.
FEW_WORKERS, ROUNDS, SETS = 60, (1000, 200), (300, 50)


@click.command(
    "codes", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als codes --workers 30",
        "coded-als codes --workers 30 --memory 10% --delays bimodal:p=0.2,fast=5ms,slow=1s",
    ),
)  # fmt: skip
@click.option("--workers", type=int, required=True, help="Number of workers.")
@click.option("--delays", default="exp:mean=20ms", show_default=True, metavar="SPEC", help="Delays of the workers.")
@click.option("--memory", help="Most memory of a worker: 2GB, or 10% of the matrix.  [default: that of 1 to 4 copies]")
@click.option(
    "--code", "codes", multiple=True, help="A code; may be repeated.  [default: the best of each kind]", metavar="SPEC"
)
@click.option("--all", "everything", is_flag=True, help="Show every code that `plan` considers.")
@click.option(
    "--cols", "length", default=1500, show_default=True, type=click.IntRange(1),
    help="Columns n of the matrix R; D = R^T R is n x n.",
)  # fmt: skip
@click.option("--entries", type=click.IntRange(1), help="Nonzero entries of a sparse R; also shows its rows in copies.")
@click.option(
    "--rank", "columns", default=200, show_default=True, type=click.IntRange(1),
    help="Columns d of X in the product D X.",
)  # fmt: skip
@takes_machine
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draws.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw time against memory: .pdf, .svg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    workers: int,
    memory: str | None,
    codes: tuple[str, ...],
    everything: bool,
    figure: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare codes: threshold, memory, work, messages, decoding error, time of a round."""
    from coded_als.experiments.code_survey import Setting, all_members, best_members, copies_limits, survey

    require_workers(workers)
    many = workers > FEW_WORKERS
    setting = Setting(
        workers, options["length"], options["columns"], readable_delays(options["delays"]),
        machine_from(options), ROUNDS[many], SETS[many], options["seed"], options["entries"],
    )  # fmt: skip
    limits = [_share(memory, setting.length)] if memory else copies_limits(workers)
    chosen = [parse_code(spec) for spec in codes] or (
        [code for code in all_members(workers, setting.length) if code.share(workers) <= (max(limits) if memory else 1)]
        if everything
        else best_members(workers, setting.length, limits)
    )
    with progress("comparing codes") as line:
        rows = survey(chosen, setting, line.say)
    if figure is not None:
        draw_codes(rows, figure)
    if as_json:
        print_json(_document(rows, setting))
    else:
        print_codes(rows, setting)


def _share(text: str, length: int) -> float:
    """The part of D that so much memory holds."""
    if re.fullmatch(r"[0-9.]+ *%", text.strip()):
        return float(text.strip().removesuffix("%")) / 100
    try:
        return SIZE.convert(text, None, None) / (8 * length**2)
    except UsageError:
        raise UsageError(f"--memory must be like 500MB, 2GB or 10%; got {text!r}.") from None


def _document(rows: Sequence[CodeRow], setting: Setting) -> dict[str, Any]:
    return {
        "workers": setting.workers,
        "length": setting.length,
        "columns": setting.columns,
        "delays": setting.delays,
        "rounds": setting.rounds,
        "sets_of_survivors": setting.sets,
        "codes": [row.document() for row in rows],
    }


def draw_codes(rows: Sequence[CodeRow], path: Path) -> None:
    """Draw time against memory; `UsageError` when it cannot be drawn or written."""
    from coded_als.experiments.report.saving import FORMATS
    from coded_als.experiments.report.sweep_figures import MemoryPoint, time_against_memory

    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"--figure must end in {', '.join(FORMATS)}; got {path}. Rename it.")
    points = [
        MemoryPoint(row.code, row.kind, parse_code(row.code).coded, row.memory_bytes, row.mean_s)
        for row in rows
        if row.mean_s is not None
    ]
    if not points:
        raise UsageError("--figure needs a code with rounds that end; none has them under these delays. Change them.")
    try:
        time_against_memory(points, "virtual seconds of a round").savefig(path)
    except OSError as error:
        raise UsageError(f"--figure must be writable; got {path}: {error.strerror}. Choose another.") from None


def print_codes(rows: Sequence[CodeRow], setting: Setting) -> None:
    """Print the table and the meaning of its columns."""
    click.echo(
        f"E = D X with D {setting.length} x {setting.length} and {setting.columns} columns, {setting.workers} workers, "
        f"delays {setting.delays} (virtual ms)"
    )
    names = (
        "needs", "share", "work", "pieces", "calm", "sent kB", "back kB", "error p50", "p99", "rack", "round ms",
        "p99 ms",
    )  # fmt: skip
    click.echo(as_text(("code", *names), [_cells(row) for row in rows], first_left=True))
    click.echo(
        "share: of D on a worker; work: of the product, by a worker; pieces: of a share, in which partial "
        "work counts; calm: work of all workers in a round in which no worker is late, uncoded 1; sent, back: to and from a worker in a round; error: of "
        "random responses as many as needed; rack: the worst after losing neighbours."
    )


def _cells(row: CodeRow) -> list[str]:
    errors = (row.errors.median, row.errors.p99, row.errors.contiguous)
    return [
        f"{row.code}, sparse rows" if row.kind == "sparse rows" else row.code,
        str(row.threshold),
        f"{row.share:.1%}",
        f"{row.work:.1%}",
        str(row.pieces),
        f"{row.undisturbed_work:.2f}",
        f"{row.payload_bytes / 1e3:.0f}",
        f"{row.response_bytes / 1e3:.0f}",
        *(f"{error:.0e}" for error in errors),
        *("never" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in (row.mean_s, row.p99_s)),
    ]
