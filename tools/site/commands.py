"""The page of commands, made from the commands: description, examples, and a table of options under each heading."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from coded_als.cli import COMMANDS, main
from coded_als.cli.help import CommandWithExamples, record

MARK = "<!-- commands -->"


def sections(name: str, command: click.Command, parent: click.Context, level: int = 2) -> Iterator[str]:
    """Markdown of a command, and of those below it."""
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} coded-als {context.command_path.partition(' ')[2]}"
    # the paragraphs of a help text are wrapped by click, and here by the browser
    yield "\n\n".join(paragraph.replace("\n", " ") for paragraph in inspect.cleandoc(command.help or "").split("\n\n"))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            below = command.get_command(context, inner)
            assert below is not None
            yield from sections(inner, below, context, level + 1)
        return
    if isinstance(command, CommandWithExamples):
        yield "\n".join(["```console", *(f"$ {example}" for example in command.examples), "```"])
        for heading, options in command.sections(context):
            yield f"| {heading} | |\n|---|---|\n" + "\n".join(row(option, context) for option in options)


def row(option: click.Option, context: click.Context) -> str:
    """An option in a table."""
    names, text = (part.replace("|", "&#124;") for part in map(html.escape, record(option, context)))
    return f"| <code>{names}</code> | {text} |"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands in the place of their mark."""
    if MARK not in markdown:
        return markdown
    top = click.Context(main, info_name="coded-als")
    texts = [text for name, (home, _) in COMMANDS.items() for text in sections(name, import_module(home).command, top)]
    return markdown.replace(MARK, "\n\n".join(texts))
