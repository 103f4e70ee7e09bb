"""``coded-als codes``: the codes side by side on your workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.codes_table import draw_codes, print_codes
from coded_als.cli.common import print_json, progress
from coded_als.cli.spec_help import CODE_SPECS, DELAY_SPECS
from coded_als.cluster.machine import Machine
from coded_als.codes import parse_code
from coded_als.delays import require_workers
from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import readable_delays

if TYPE_CHECKING:
    from coded_als.experiments.codes.survey import CodeRow, Setting

UNITS = {"%": 0.01, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
# Rounds and sets of survivors for up to so many workers; beyond, each takes much longer.
FEW_WORKERS, ROUNDS, SETS = 60, (1000, 200), (300, 50)


@click.command("codes", epilog=f"{DELAY_SPECS}\n{CODE_SPECS}")
@click.option("--workers", type=int, required=True, help="W.")
@click.option("--delays", default="exp:mean=20ms", show_default=True, help="Delay SPEC.")
@click.option("--memory", help="What a worker may store: 2GB, or 10% of the matrix.  [default: that of 1 to 4 copies]")
@click.option(
    "--code", "codes", multiple=True, help="A code SPEC as below; may be repeated.  [default: the best of each]"
)
@click.option("--all", "everything", is_flag=True, help="Every code that a plan looks at.")
@click.option("--length", default=1500, show_default=True, type=click.IntRange(1), help="Side l of D.")
@click.option("--columns", default=200, show_default=True, type=click.IntRange(1), help="Columns d of X in E = D X.")
@click.option("--speed", default=Machine.multiplications_per_second, show_default=True, help="Multiplications/s.")
@click.option(
    "--bandwidth",
    default=Machine.bytes_per_second,
    show_default=True,
    help="Bytes/s of the master's link, which all messages share.",
)
@click.option("--latency", default=Machine.latency_s, show_default=True, help="Seconds of any message.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draws.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw time against memory: .pdf, .svg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    workers: int, memory: str | None, codes: tuple[str, ...], everything: bool, figure: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Threshold, memory, work, messages, decoding error and time of a round, code by code."""
    from coded_als.experiments.codes.members import all_members, best_members, copies_limits
    from coded_als.experiments.codes.survey import Setting, survey

    require_workers(workers)
    many = workers > FEW_WORKERS
    setting = Setting(
        workers, options["length"], options["columns"], readable_delays(options["delays"]),
        Machine(options["speed"], options["bandwidth"], options["latency"]), ROUNDS[many], SETS[many], options["seed"],
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
    match = re.fullmatch(r"([0-9.]+)\s*(%|B|kB|MB|GB|TB)", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        value = float(match[1]) * UNITS[match[2]]
    except ValueError:
        raise UsageError(f"--memory must be like 500MB, 2GB or 10%; got {text!r}. Correct it.") from None
    return value if match[2] == "%" else value / (8 * length**2)


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
