"""Options for reading ratings, and a line about the ratings that were read."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypedDict

import click

from coded_als.cli.common import Command, together

if TYPE_CHECKING:
    from coded_als.dask.dataset import Dataset
    from coded_als.data import RatingData
    from coded_als.data.ratings import Repeated


class ReadingOptions(TypedDict):
    """The options that `reads_ratings` adds: keyword arguments of `coded_als.data.load_ratings`."""

    columns: tuple[str, ...] | None
    header: bool | None
    delimiter: str | None
    encoding: str | None
    repeated: Repeated | None


def _names(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(name.strip() for name in given.split(","))


_OPTIONS = (
    click.option(
        "--columns",
        callback=_names,
        metavar="USER,ITEM[,RATING[,TIME]]",
        help="Columns by name, or by place from 1; without a rating, lines are counted.  "
        "[default: known names, or user, item, rating, time]",
    ),
    click.option(
        "--header/--no-header", default=None, help="Text: line 1 holds names, or data.  [default: as the text shows]"
    ),
    click.option("--delimiter", metavar="TEXT", help=r"Text: between fields, such as ';' or '\t'.  [default: found]"),
    click.option("--encoding", help="Text: such as latin-1 or cp1252.  [default: UTF-8, or by its byte order mark]"),
    click.option(
        "--repeated",
        type=click.Choice(["refuse", "last", "sum"]),
        help="Which value counts of a pair of user and item that is there twice.  [default: refuse; without ratings: sum]",
    ),
)


def reads_ratings(command: Command) -> Command:
    """Add the options of reading ratings, which the command gets as one dictionary, ``reading``."""

    @functools.wraps(command)
    def with_reading(*arguments: Any, **given: Any) -> Any:
        reading = {name: given.pop(name) for name in ReadingOptions.__annotations__}
        return command(*arguments, reading=reading, **given)

    return together(*_OPTIONS)(with_reading)  # type: ignore[return-value]


def read_document(data: RatingData) -> dict[str, Any] | None:
    """How ratings were read, for JSON; None where there was nothing to read."""
    reading = data.reading
    if reading is None:
        return None
    return {
        "ratings": data.entries,
        "users": data.shape[0],
        "items": data.shape[1],
        "lines": reading.lines,
        "columns": reading.columns,
        "columns_by": reading.by,
        "header": reading.has_header,
        "columns_not_read": reading.unread,
        "empty_lines": reading.blank,
    }


def parts_document(dataset: Dataset) -> dict[str, Any]:
    """The same of part files."""
    layout = dataset.source.pieces[0].layout
    return {
        "ratings": dataset.rows,
        "users": dataset.shape[0],
        "items": dataset.shape[1],
        "lines": dataset.rows,
        "columns": dataset.source.columns,
        "columns_by": "name" if layout is None else layout.by,
        "header": layout is not None and bool(layout.names),
        "columns_not_read": () if layout is None else layout.unread,
        "empty_lines": dataset.empty_lines,
    }


def read_line(read: dict[str, Any] | None) -> str | None:
    """The same in one line."""
    if read is None:
        return None
    merged = read["lines"] - read["ratings"] if read["columns"] else 0
    of_lines = f" from {read['lines']:,} lines" if merged > 0 else ""
    sizes = (_counted(read[noun], noun) for noun in ("ratings", "users", "items"))
    parts = ["{} of {} and {}".format(*sizes) + of_lines]
    if read["columns"]:
        parts.append(f"columns {', '.join(read['columns'])} by {read['columns_by']}")
    else:
        parts.append("the ratings of a user in each line")
    if read["columns_not_read"]:
        parts.append(f"not read: {', '.join(read['columns_not_read'])}")
    if read["empty_lines"]:
        parts.append(f"{_counted(read['empty_lines'], 'empty lines')} passed over")
    return "; ".join(parts)


def _counted(number: int, nouns: str) -> str:
    return f"{number:,} {nouns if number != 1 else nouns.removesuffix('s')}"


def tell_reading(data: RatingData) -> None:
    """Say how ratings were read, on stderr."""
    line = read_line(read_document(data))
    if line is not None:
        click.echo(line, err=True)
