"""One offline HTML file for a folder of results; every number comes from what is stored, nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from coded_als.experiments.report.entries import Shown
from coded_als.experiments.report.opening import open_results, saying_damaged
from coded_als.experiments.report.page import Section, folded, items, page, table
from coded_als.experiments.report.results import Results
from coded_als.experiments.report.saving import inline_svg, save_figures
from coded_als.experiments.report.summary import sentences
from coded_als.experiments.sweep.result_folder import saying_what_failed, write_text
from coded_als.experiments.sweep.rows import STATUSES, flat
from coded_als.experiments.table1.cells_table import table_cells
from coded_als.experiments.table1.findings import findings
from coded_als.experiments.table1.paper import paper_source
from coded_als.experiments.table1.wall import read_wall

GOOD = {"agrees", "supported", "done"}
MIDDLING = {"trend only", "partly supported", "infeasible"}


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
    title = "What agrees, what is trend only, what does not"
    yield Section(title, "Derived from the cells below.", items(verdicts))
    cells = table(*table_cells(results.of_table1, read_wall(results.folder)))
    yield Section("All cells", f"Source of the published seconds: {paper_source()}.", cells)
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


def _figure(shown: Shown, drawing: str, command: str) -> Section:
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
