"""``coded-als recommend``: the best items for users of a saved model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from coded_als.cli.common import print_json
from coded_als.cli.help import CommandWithExamples
from coded_als.data.text import load_titles, read_ids
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.persistence import load_model


def write_top_n_of_all(model: Path, out: Path, n: int, filter_seen: bool, scheduler: str | None) -> int:
    """Write the best items of every user; the number of users. `UsageError` for an unsuitable model or folder."""
    # each needs libraries of its own
    from coded_als.models.folder import TOP_N_NOTE, require_replaceable, save_folder, write_top_n_folder

    require_replaceable(out, TOP_N_NOTE)
    if scheduler is not None:
        if not os.path.isdir(model):
            raise UsageError(f"--scheduler is for a model folder (fit --out DIR/); got {model}. Remove it.")
        from coded_als.dask.cluster import open_client
        from coded_als.dask.fitting import write_top_n_on

        with open_client(scheduler) as client:
            return write_top_n_on(client, model, out, n, filter_seen)
    if os.path.isdir(model):
        return write_top_n_folder(model, out, n, filter_seen)
    with tempfile.TemporaryDirectory(prefix="coded-als-") as scratch:
        save_folder(load_model(model), Path(scratch) / "model")
        return write_top_n_folder(Path(scratch) / "model", out, n, filter_seen)


_BLOCK = 1000


@click.command(
    "recommend", cls=CommandWithExamples,
    examples=(
        "coded-als recommend model.npz --user 196",
        "coded-als recommend model.npz --all -n 20 --out lists/",
    ),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--user", "named", multiple=True, help="Id of a user, as in the ratings; may be repeated.")
@click.option("--users", type=click.Path(path_type=Path), help="File with one id of a user on each line.")
@click.option("--all", "everybody", is_flag=True, help="All users of the training ratings.")
@click.option("-n", "--count", default=10, show_default=True, help="Items for each user.")
@click.option("--exclude", multiple=True, help="Leave out this item; may be repeated.")
@click.option(
    "--items", type=click.Path(path_type=Path), help="Choose only from the items in this file, one id on each line."
)
@click.option(
    "--titles", type=click.Path(path_type=Path),
    help="Print titles from this file: lines of id and title, as in u.item, movies.dat or movies.csv of MovieLens.",
)  # fmt: skip
@click.option(
    "--encoding", help="Encoding of --users, --items and --titles.  [default: UTF-8, or by the byte order mark]"
)
@click.option(
    "--cold", type=click.Choice(["refuse", "popular"]), default="refuse", show_default=True,
    help="Users without ratings in training: an error, or the items with the most ratings.",
)  # fmt: skip
@click.option("--include-seen", is_flag=True, help="Also recommend items that the user has rated.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="With --all: write Parquet files into this folder, in blocks."
)
@click.option("--scheduler", help="With --out and a model folder: run on this Dask cluster, as in fit.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON and nothing else; for several users, one document on each line."
)
def command(
    model: Path,
    named: tuple[str, ...],
    users: Path | None,
    everybody: bool,
    count: int,
    exclude: tuple[str, ...],
    items: Path | None,
    titles: Path | None,
    encoding: str | None,
    cold: Literal["refuse", "popular"],
    include_seen: bool,
    out: Path | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Recommend items to users of the saved MODEL, best first.

    For one --user the lines are `item score [title]`, else `user item score [title]`, separated by tabs.
    """
    if sum((bool(named), users is not None, everybody)) != 1:
        given = "several of them" if named or users is not None or everybody else "none"
        raise UsageError(f"users must be chosen by --user ID, --users FILE or --all; got {given}.")
    if out is not None or scheduler is not None:
        if not everybody or out is None or exclude or items is not None or titles is not None or as_json:
            raise UsageError(
                "--out and --scheduler go with --all, -n and --include-seen alone; got others. Remove them."
            )
        count_of_users = write_top_n_of_all(model, out, count, not include_seen, scheduler)
        click.echo(f"saved {out}: the best {count} items of {count_of_users} users")
        return
    fitted = load_model(model)
    known = {} if titles is None else load_titles(titles, encoding)
    wanted = [*named] if named else read_ids(users, encoding) if users is not None else _rated(fitted)
    chosen = None if items is None else read_ids(items, encoding)
    for unknown in [] if cold == "popular" else np.flatnonzero(fitted.user_rows(wanted) < 0):
        fitted.recommend(wanted[unknown])  # raises, and before anything is printed
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK]
        ids, scores = fitted.recommend(
            block, count, filter_seen=not include_seen, exclude=exclude, items=chosen, cold=cold
        )
        for user, row, values in zip(block, ids.tolist(), scores.tolist(), strict=True):
            found = [
                {"item": item, "score": score} | ({"title": known.get(str(item))} if titles is not None else {})
                for item, score in zip(row, values, strict=True)
                if score > float("-inf")
            ]
            _print(user, found, one=len(named) == 1, as_json=as_json)


def _print(user: Any, found: list[dict[str, Any]], *, one: bool, as_json: bool) -> None:
    if as_json:
        print_json({"user": user, "items": found}, compact=not one)
        return
    for entry in found:
        fields = [] if one else [user]
        fields += [entry["item"], f"{entry['score']:.4f}"]
        if "title" in entry:
            fields.append(entry["title"] or "")
        click.echo("\t".join(map(str, fields)))


def _rated(model: FactorModel) -> list[Any]:
    """The ids of all users that have something to be recommended from."""
    if model.seen_ is None:
        return list(model.user_ids.tolist())
    return list(model.user_ids[model.seen_.indptr[1:] > model.seen_.indptr[:-1]].tolist())
