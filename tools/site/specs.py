"""The tables of the page of SPECs, made from the registries of delays and codes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from coded_als.codes import CODES
from coded_als.delays import MODELS
from coded_als.delays.models import quantities

LINES = {"delays": "<!-- delays -->", "codes": "<!-- codes -->"}


def summary(kind: type) -> str:
    """The first line of a class's description."""
    return (inspect.getdoc(kind) or "").splitlines()[0]


def parameters(kind: type) -> Iterator[tuple[str, str]]:
    """Name of each parameter, and its default or the sign of one that must be given."""
    for field in dataclasses.fields(kind):
        if field.init:
            missing = field.default is dataclasses.MISSING
            yield field.name, "" if missing or field.default is None else f" (default {field.default})"


def delay_rows() -> Iterator[str]:
    yield "| SPEC | parameters | delay of a worker in a round |\n|---|---|---|"
    for name, model in MODELS.items():
        kinds = quantities(model)
        named = [f"`{key}`: {kinds[key].written}{default}" for key, default in parameters(model)]
        yield f"| `{name}` | {'<br>'.join(named)} | {summary(model)} |"


def code_rows() -> Iterator[str]:
    yield "| SPEC | parameters | code |\n|---|---|---|"
    for name, code in CODES.items():
        named = [f"`{key}`{default}" for key, default in parameters(code)]
        yield f"| `{name}` | {', '.join(named)} | {summary(code)} |"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in the places of their marks."""
    for mark, rows in ((LINES["delays"], delay_rows), (LINES["codes"], code_rows)):
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(rows()))
    return markdown
