"""A folder of results as it is read, and one offline HTML file of it; every number comes from the stored rows, nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from coded_als.codes import Uncoded
from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.report.canvas import CaptionedFigure, memory, named_apart, plain
from coded_als.experiments.report.saving import inline_svg, save_figures
from coded_als.experiments.report.slices import Slice, is_coded, scheme_name, slices
from coded_als.experiments.report.sweep_figures import sweep_figures_of
from coded_als.experiments.report.table1_figures import table1_figures_of
from coded_als.experiments.sweep.result_folder import (
    Examples,
    read_examples,
    read_results,
    saying_what_failed,
    write_text,
)
from coded_als.experiments.sweep.rows import STATUSES, StoredRow, SweepRow, canonical, flat
from coded_als.experiments.table1.findings import findings, table_cells
from coded_als.experiments.table1.paper_table import OperationTime, Table1Row, constants, paper_source, read_wall


@dataclass(frozen=True)
class Results:
    """Results that ``sweep`` or ``reproduce`` stored.

    Parameters
    ----------
    folder
        Path of the folder.
    spec
        The settings of the run.
    rows
        One for each finished cell, in the order of the cells.

    Examples
    --------
    >>> from coded_als.experiments.report import open_results
    >>> results = open_results("out/sweep")
    >>> names = [figure.name for figure in results.figures()]
    """

    folder: Path
    spec: dict[str, Any]
    rows: list[StoredRow]

    @property
    def is_table1(self) -> bool:
        """Whether these are of Table I, not of a sweep."""
        return bool(self.spec.get("kind") == "table1")

    @property
    def clock(self) -> str:
        """The clock of the seconds: ``"virtual"`` or ``"wall"``."""
        return "virtual" if self.is_table1 or self.spec["cluster"] == "virtual" else "wall"

    @property
    def of_sweep(self) -> list[SweepRow]:
        """The rows, where they are of a sweep."""
        return cast(list[SweepRow], self.rows)

    @property
    def of_table1(self) -> list[Table1Row]:
        """The rows, where they are of Table I."""
        return cast(list[Table1Row], self.rows)

    @cached_property
    def slices(self) -> list[Slice]:
        """The parts of a sweep that one figure may show."""
        return slices(self.of_sweep, self.clock)

    @cached_property
    def examples(self) -> Examples | None:
        """Example runs of a sweep, if it has any."""
        return None if self.is_table1 else read_examples(self.folder)

    @cached_property
    def environments(self) -> list[dict[str, Any]]:
        """Place and time of each run."""
        path = self.folder / "environments.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def command(self) -> str:
        """The command line of the last run."""
        return str(self.environments[-1]["command"]) if self.environments else "coded-als"

    def figures(self) -> Iterator[CaptionedFigure]:
        """Return all figures of the report, drawn one at a time."""
        if self.is_table1:
            return named_apart(table1_figures_of(self.of_table1))
        return named_apart(sweep_figures_of(self.of_sweep, self.clock, self.examples))


def open_results(folder: str | Path) -> Results:
    """Read a results folder.

    Parameters
    ----------
    folder
        The folder of ``sweep --out`` or ``reproduce --out``.

    Raises
    ------
    UsageError
        If it is no results folder, is damaged or holds no finished cell.

    Examples
    --------
    >>> from coded_als.experiments.report import open_results
    >>> results = open_results("out/sweep")
    >>> results.clock, [part.name for part in results.slices]
    ('virtual', [...])
    """
    folder = Path(folder)
    spec, rows = read_results(folder)
    if not any(row["status"] == "done" for row in rows):
        raise UsageError(f"a report needs a finished cell; {folder} has none. Run or resume the sweep.")
    if spec.get("kind") != "table1":
        # a run that has not ended stored its cells in the order of finishing
        with saying_damaged(folder):
            place = {canonical(cell): index for index, cell in enumerate(spec["cells"])}
            rows = sorted(rows, key=lambda row: place[canonical(row["cell"])])
    return Results(folder, spec, rows)


@contextmanager
def saying_damaged(folder: Path) -> Iterator[None]:
    """Report any exception that damaged values cause as one `UsageError`."""
    try:
        yield
    except (CodedALSError, OSError):
        raise
    except Exception as error:
        raise UsageError(
            f"stored results must be whole; {folder} is damaged ({type(error).__name__}: {error}). "
            "Run it again into another folder."
        ) from None


GOOD = {"agrees", "supported", "done"}
MIDDLING = {"trend only", "partly supported", "infeasible"}
# two schemes tie when their intervals overlap or their means are this close
CLOSE = 1.05
# a page with more sections than this gets contents, a table with more rows a scroll bar
SHORT_PAGE, SHORT_TABLE = 4, 40


def write_report(folder: Path, formats: Sequence[str] = ()) -> Path:
    """Write ``report.html`` into a results folder and return its path.

    Parameters
    ----------
    folder
        A results folder.
    formats
        Formats in which each figure is saved to ``figures/`` too.

    Raises
    ------
    UsageError
        If the folder holds no finished cell, is damaged, or cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from coded_als.experiments.report import write_report
    >>> write_report(Path("out/sweep")).name
    'report.html'
    """
    results = open_results(folder)
    title = "Table I of the paper, re-made" if results.is_table1 else "Sweep of straggler schemes"
    with saying_damaged(folder):
        sections = [*(_table1(results) if results.is_table1 else _sweep(results)), _origin(results)]
        document = page(title, _lead(results), sections)
    path = folder / "report.html"
    with saying_what_failed(folder):
        write_text(path, document)
    if formats:
        save_figures(folder / "figures", results.figures(), formats)
    return path


def _lead(results: Results) -> str:
    if results.is_table1:
        return ""
    statuses = [row["status"] for row in results.rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES)
    return (
        f'<p class="soft">{len(statuses)} of {len(results.spec["cells"])} cells ({counts}); '
        f"all seconds are {results.clock} seconds.</p>"
    )


def _table1(results: Results) -> Iterator[Section]:
    verdicts = (
        f"{_badge(found.verdict)}<b>{escape(found.subject)}</b><br>{escape(found.evidence)}."
        for found in findings(results.of_table1, results.spec["size"])
    )
    title = "Agreement, agreement in trend only, and disagreement"
    yield Section(title, "Derived from the cells below.", items(verdicts))
    cells = table(*table_cells(results.of_table1, read_wall(results.folder)))
    note = f"Source of the published seconds: {paper_source()}."
    if "law" in results.spec:
        note += f" Fitted to (46): {constants(OperationTime(**results.spec['law']))}."
    yield Section("All cells", note, cells)
    yield from _figures(results)


def _sweep(results: Results) -> Iterator[Section]:
    parts = (
        f"<b>{part.workers[-1]} workers, {escape(part.name)}.</b> " + " ".join(map(escape, sentences(part)))
        for part in results.slices
    )
    yield Section("In short", "", items(parts))
    yield from _figures(results)
    rows = [
        {key: value for key, value in flat(row).items() if not str(key).endswith(("quantiles", "history"))}
        for row in results.rows
    ]
    headings = list(dict.fromkeys(key for row in rows for key in row))
    body = [[row.get(heading) for heading in headings] for row in rows]
    yield Section("All cells", "", folded(f"{len(rows)} cells", table(headings, body)))


def _badge(word: str) -> str:
    css = "good" if word in GOOD else "mid" if word in MIDDLING else "bad"
    return f'<span class="verdict {css}">{escape(word)}</span>'


def _figures(results: Results) -> Iterator[Section]:
    for place, shown in enumerate(results.figures()):
        yield _figure(shown, inline_svg(shown.figure, f"f{place}", shown.title), results.command)


def _figure(shown: CaptionedFigure, drawing: str, command: str) -> Section:
    drawing = f"<figure>{drawing}</figure>"
    made_by = f"<p>Made by <code>{escape(command)}</code>. File name: <code>{escape(shown.name)}</code></p>"
    return Section(
        shown.title, shown.note, drawing + folded("Data and command", made_by + table(shown.headings, shown.body))
    )


def _origin(results: Results) -> Section:
    """Spec and machines, at the end."""
    runs = results.environments
    keys = list(dict.fromkeys(key for run in runs for key in run))
    headings = ["", *(f"run {count}" for count in range(1, len(runs) + 1))]
    machines = table(headings, [[key, *(str(run.get(key)) for run in runs)] for key in keys])
    asked = json.dumps({key: value for key, value in results.spec.items() if key != "cells"}, sort_keys=True)
    return Section("How this was made", "", f"{machines}<p><code>{escape(asked)}</code></p>")


def sentences(part: Slice) -> list[str]:
    """Findings of a slice at its largest number of workers."""
    ranked = sorted(part.largest, key=part.mean)
    return [_fastest(part, ranked), *_ties(part, ranked), *_equal_memory(part, ranked)]


def _seconds(part: Slice, row: SweepRow) -> str:
    return f"{plain(part.mean(row))} {part.clock} seconds"


def _fastest(part: Slice, ranked: Sequence[SweepRow]) -> str:
    best = ranked[0]
    uncoded = next((row for row in ranked if row["cell"]["code"] == Uncoded.name), best)
    text = f"{scheme_name(best['cell'])} is fastest with {_seconds(part, best)}"
    if uncoded is not best:
        text += f", {plain(part.mean(uncoded) / part.mean(best), 2)} times as fast as uncoded"
    master_s = best.get("virtual_master_seconds")
    if master_s is not None:
        text += f"; {plain(master_s)} of them are the master's own work"
    return text + "."


def near_ties(part: Slice, ranked: Sequence[SweepRow]) -> list[SweepRow]:
    """Rows that the draws do not tell from the first, or that are within 5 % of it."""
    _, high = part.interval(ranked[0])
    limit = CLOSE * part.mean(ranked[0])
    return [row for row in ranked[1:] if part.interval(row)[0] <= high or part.mean(row) <= limit]


def _ties(part: Slice, ranked: Sequence[SweepRow]) -> list[str]:
    ties = near_ties(part, ranked)
    if not ties:
        return []
    names = "; ".join(f"{scheme_name(row['cell'])} ({plain(part.mean(row))})" for row in ties)
    return [f"Not distinguishable from it (overlapping 95 % intervals, or means within 5 %): {names}."]


def _equal_memory(part: Slice, ranked: Sequence[SweepRow]) -> list[str]:
    """Each replicated scheme beside the fastest code that needs no more memory."""
    coded = [row for row in ranked if is_coded(row["cell"])]
    plain_schemes = [row for row in ranked if not is_coded(row["cell"]) and row["cell"]["code"] != Uncoded.name]
    return [_beside(part, row, coded) for row in plain_schemes if coded]


def _beside(part: Slice, row: SweepRow, coded: Sequence[SweepRow]) -> str:
    room = row["worker_storage_bytes"]
    opening = f"With the memory of {scheme_name(row['cell'])} ({memory(room)} a worker, {_seconds(part, row)})"
    fitting = [other for other in coded if other["worker_storage_bytes"] <= room]
    if not fitting:
        return f"{opening} no coded cell of this sweep fits; a code with more parts needs less memory."
    other = fitting[0]
    ratio = part.mean(row) / part.mean(other)
    return f"{opening} the fastest code is {scheme_name(other['cell'])} ({memory(other['worker_storage_bytes'])}): {_compared(ratio)}."


def _compared(ratio: float) -> str:
    """How a scheme compares with one that takes ``ratio`` times its seconds."""
    if 1 / CLOSE <= ratio <= CLOSE:
        return "as fast, within 5 %"
    return f"{plain(ratio, 2)} times as fast" if ratio > 1 else f"it takes {plain(1 / ratio, 2)} times as long"


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    # plain text
    title: str
    note: str
    content: str  # HTML


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The document."""
    style = files("coded_als.experiments.report").joinpath("report.css").read_text()
    names = _anchors(sections)
    body = [
        f'<section id="{name}"><h2>{escape(section.title)}</h2>'
        + (f'<p class="note">{escape(section.note)}</p>' if section.note else "")
        + f"{section.content}</section>"
        for name, section in zip(names, sections, strict=True)
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{lead}{_contents(names, sections)}{''.join(body)}</main></body></html>\n"
    )


def _anchors(sections: Sequence[Section]) -> list[str]:
    return [
        f"s{place}-" + re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:60]
        for place, section in enumerate(sections, start=1)
    ]


def _contents(names: Sequence[str], sections: Sequence[Section]) -> str:
    if len(sections) <= SHORT_PAGE:
        return ""
    links = (
        f'<li><a href="#{name}">{escape(section.title)}</a></li>' for name, section in zip(names, sections, strict=True)
    )
    opened = " open" if len(sections) <= 12 else ""
    return f"<nav><details{opened}><summary>Contents</summary><ol>{''.join(links)}</ol></details></nav>"


def folded(summary: str, content: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def items(texts: Iterable[str]) -> str:
    """A list of pieces of HTML."""
    return f"<ul>{''.join(f'<li>{text}</li>' for text in texts)}</ul>"


def table(headings: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """A table; long ones scroll."""
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    lines = [f"<tr>{''.join(map(_value, line))}</tr>" for line in body]
    css = "scroll" if len(lines) > SHORT_TABLE else "wide"
    return f'<div class="{css}" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _value(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f"<td>{plain(value, 4)}</td>"
    text = escape(str(value))
    if isinstance(value, str) and len(text) > 60:
        return f'<td class="text long">{text}</td>'
    return f'<td class="text">{text}</td>' if text[:1].isalpha() else f"<td>{text}</td>"
