"""``coded-als split``: a training part and a test part of the same ratings, as two files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from coded_als.cli.common import choice, print_json
from coded_als.cli.fit_running import require_outputs
from coded_als.cli.help import CommandWithExamples
from coded_als.cli.reading import ReadingOptions, read_document, read_line, reads_ratings
from coded_als.data import holdout, leave_k_out, load_ratings
from coded_als.data.splits import write_rating_lines
from coded_als.errors import UsageError


@click.command(
    "split", cls=CommandWithExamples,
    examples=(
        "coded-als split ratings.tsv --test-fraction 0.1 --out ml",
        "coded-als split ratings.tsv --leave-out 1 --by time",
    ),
)  # fmt: skip
@click.argument("ratings")
@click.option(
    "--test-fraction", "fraction", type=float, help="Part of the ratings to hold out at random.  [default: 0.2]"
)
@click.option("--leave-out", "leave_out", type=int, metavar="K", help="Hold out K ratings of every user instead.")
@choice("--by", ["random", "time"], "random", help="Hold out random ratings of a user, or the latest.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random choice.")
@click.option(
    "--out", metavar="PREFIX",
    help="Write PREFIX.train.tsv and PREFIX.test.tsv.  [default: the name of RATINGS without its ending, in this folder]",
)  # fmt: skip
@reads_ratings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    ratings: str,
    fraction: float | None,
    leave_out: int | None,
    by: Literal["random", "time"],
    seed: int,
    out: str | None,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Split RATINGS into a training and a test file.

    Both files have lines `user item rating [time]` in the order of the source. `fit` the first and `evaluate` with the
    second. The same seed gives the same files.
    """
    if leave_out is not None and fraction is not None:
        raise UsageError("a split takes --test-fraction or --leave-out; got both. Remove one.")
    if by == "time" and leave_out is None:
        raise UsageError("--by time needs --leave-out K. Add it.")
    prefix = _prefix(ratings) if out is None else out
    parts = {name: Path(f"{prefix}.{name}.tsv") for name in ("train", "test")}
    require_outputs({f"the {name} part": path for name, path in parts.items()}, {ratings: "the ratings"})
    data = load_ratings(ratings, **reading)
    if leave_out is None:
        pair = holdout(data, 0.2 if fraction is None else fraction, seed=seed)
    else:
        pair = leave_k_out(data, leave_out, by=by, seed=seed)
    for path, part in zip(parts.values(), pair, strict=True):
        write_rating_lines(path, part)
    counts = {name: part.entries for name, part in zip(parts, pair, strict=True)}
    if as_json:
        written = {name: {"path": str(path), "ratings": counts[name]} for name, path in parts.items()}
        print_json({"ratings": ratings, **written, "read": read_document(data)})
        return
    if line := read_line(read_document(data)):
        click.echo(line)
    for name, path in parts.items():
        click.echo(f"{counts[name]} ratings in {path}")
    click.echo(f"next: coded-als fit {parts['train']} --method ridge --out model.npz")


def _prefix(ratings: str) -> str:
    name = Path(ratings).name
    if ":" in name or not name:
        raise UsageError(f"a split needs a name where RATINGS is no file; got {ratings}. Add --out PREFIX.")
    suffix = next((ending for ending in (".gz", ".bz2", ".xz", ".zst") if name.lower().endswith(ending)), "")
    return name[: len(name) - len(suffix)].rsplit(".", 1)[0] or name
