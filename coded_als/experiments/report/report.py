"""One offline HTML file for a folder of results; every number comes from what is stored, nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.report.example_runs import read_examples
from coded_als.experiments.report.figures import (
    SWEEP_FIGURES,
    Figure,
    decoding_error_against_partitions,
    objective_against_seconds,
    slices,
    survival_against_products,
    table1_times,
)
from coded_als.experiments.report.timeline import timeline
from coded_als.experiments.sweep.store import (
    STATUSES,
    Row,
    canonical,
    flat,
    read_results,
    saying_what_failed,
    write_text,
)
from coded_als.experiments.table1.findings import Finding, findings
from coded_als.experiments.table1.reproduction import read_wall, table_cells
from coded_als.experiments.table1.table1 import paper_source

GOOD = {"agrees", "supported", "done"}
MIDDLING = {"trend only", "partly supported", "infeasible"}


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a results folder and return its path.

    Raises
    ------
    UsageError
        If the folder holds no finished cell, is damaged, or cannot be written.
    """
    spec, rows = read_results(folder)
    if not any(row["status"] == "done" for row in rows):
        raise UsageError(f"a report needs a finished cell; {folder} has none. Run or resume the sweep.")
    try:
        page = _whole_page(folder, spec, rows)
    except (CodedALSError, OSError):
        raise
    except Exception as error:  # a damaged value may stop any of the drawings, each with an error of its own
        raise UsageError(
            f"stored results must be whole; {folder} is damaged ({type(error).__name__}: {error}). "
            "Run it again into another folder."
        ) from None
    path = folder / "report.html"
    with saying_what_failed(folder):
        write_text(path, page)
    return path


def _whole_page(folder: Path, spec: Row, rows: list[Row]) -> str:
    if spec.get("kind") == "table1":
        title, parts = "Table I of the paper, re-made", _table1(folder, spec, rows)
    else:
        title, parts = "Sweep of straggler schemes", _sweep(folder, spec, rows)
    return _page(title, [*parts, _origin(folder, spec)])


def _table1(folder: Path, spec: Row, rows: list[Row]) -> Iterable[str]:
    yield _findings(findings(rows, spec["size"]))
    headings, body = table_cells(rows, read_wall(folder))
    yield _section("All cells", f"Source of the published seconds: {paper_source()}.", _table(headings, body))
    command = _command(folder)
    for figure in (table1_times(rows), decoding_error_against_partitions(rows), survival_against_products(rows)):
        yield _figure(figure, command)


def _sweep(folder: Path, spec: Row, rows: list[Row]) -> Iterable[str]:
    clock, command = ("virtual" if spec["cluster"] == "virtual" else "wall"), _command(folder)
    # a run that has not ended stored its cells in the order of finishing
    place = {canonical(cell): index for index, cell in enumerate(spec["cells"])}
    rows = sorted(rows, key=lambda row: place[canonical(row["cell"])])
    counts = ", ".join(f"{sum(r['status'] == s for r in rows)} {s}" for s in STATUSES)
    yield f'<p class="soft">{len(rows)} of {len(spec["cells"])} cells ({counts}); all seconds are {clock} seconds.</p>'
    yield _fastest(rows, clock)
    for part in slices(rows, clock):
        for make in SWEEP_FIGURES:
            yield _figure(make(part), command)
    examples = read_examples(folder)
    if examples:
        several = len({cell["delays"] for cell in spec["cells"]}) > 1
        alone = " Shown for the first of the sweep's delay models alone." if several else ""
        drawn = (objective_against_seconds(examples), timeline(examples))
        yield from (_figure(replace(f, note=f.note + alone), command) for f in drawn if f)
    flattened = [{k: v for k, v in flat(row).items() if not str(k).endswith(("quantiles", "history"))} for row in rows]
    headings = list(dict.fromkeys(key for row in flattened for key in row))
    body = [[row.get(heading) for heading in headings] for row in flattened]
    yield _section("All cells", "", f"<details><summary>{len(rows)} cells</summary>{_table(headings, body)}</details>")


def _fastest(rows: Sequence[Row], clock: str) -> str:
    """In words: the fastest scheme of each slice against waiting for everybody."""
    sentences = []
    for part in slices(rows, clock):
        workers = part.workers[-1]
        here = sorted(part.where(workers=workers), key=part.mean)
        best, uncoded = here[0], next((r for r in here if r["cell"]["placement"] == "uncoded"), None)
        name = best["cell"]["placement"] + (
            f" h={best['cell']['partitions']} ({best['cell']['points']})" if best["cell"]["partitions"] else ""
        )
        text = f"{workers} workers, {part.name}: {name} is fastest with {part.mean(best):.3g} {clock} seconds"
        if uncoded is not None and uncoded is not best:
            text += f", {part.mean(uncoded) / part.mean(best):.2g} times as fast as uncoded"
        sentences.append(f"<li>{escape(text)}.</li>")
    return _section("In short", "", f"<ul>{''.join(sentences)}</ul>")


def _findings(all_of: Sequence[Finding]) -> str:
    items = [f"<li>{_badge(f.verdict)}<b>{escape(f.subject)}</b><br>{escape(f.evidence)}.</li>" for f in all_of]
    return _section(
        "What agrees, what is trend only, what does not", "Derived from the cells below.", f"<ul>{''.join(items)}</ul>"
    )


def _badge(word: str) -> str:
    css = "good" if word in GOOD else "mid" if word in MIDDLING else "bad"
    return f'<span class="verdict {css}">{escape(word)}</span>'


def _figure(figure: Figure, command: str) -> str:
    data = f"<details><summary>Data and command</summary>{_made_by(command)}{_table(figure.headings, figure.body)}</details>"
    return _section(figure.title, figure.note, figure.drawing + data)


def _made_by(command: str) -> str:
    return f"<p>Made by <code>{escape(command)}</code></p>"


def _section(title: str, note: str, content: str) -> str:
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{content}</section>"


def _table(headings: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    lines = [f"<tr>{''.join(map(_value, line))}</tr>" for line in body]
    # a short table is shown whole
    css = "scroll" if len(lines) > 40 else "wide"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="{css}">{table}</div>'


def _value(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f"<td>{value:.4g}</td>"
    text = escape(str(value))
    if isinstance(value, str) and len(text) > 60:
        return f'<td class="text long">{text}</td>'
    return f'<td class="text">{text}</td>' if text[:1].isalpha() else f"<td>{text}</td>"


def _environments(folder: Path) -> list[Row]:
    path = folder / "environments.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _command(folder: Path) -> str:
    runs = _environments(folder)
    return str(runs[-1]["command"]) if runs else "coded-als"


def _origin(folder: Path, spec: Row) -> str:
    """Spec and machines, at the end."""
    shown = {key: value for key, value in spec.items() if key != "cells"}
    runs = _environments(folder)
    keys = list(dict.fromkeys(key for run in runs for key in run))
    table = _table(
        ["", *(f"run {count}" for count in range(1, len(runs) + 1))],
        [[key, *(str(run.get(key)) for run in runs)] for key in keys],
    )
    return _section("How this was made", "", f"{table}<p><code>{escape(json.dumps(shown, sort_keys=True))}</code></p>")


def _page(title: str, parts: Iterable[str]) -> str:
    style = files("coded_als.experiments.report").joinpath("report.css").read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{''.join(parts)}</main></body></html>\n"
    )
