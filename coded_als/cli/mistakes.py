"""Command lines that click cannot read, explained as every error of ours is: rule, got, remedy."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import click

# where a command keeps the names of the parameters that were typed
GIVEN = "coded_als.cli.given"

# click's message about a value that is of no use, with the value first
_GOT = re.compile(r"^(.*?) is not (?:a valid |in the range |one of )")


def explained(error: click.UsageError) -> str:
    """The error in one line."""
    command = error.ctx.command_path if error.ctx is not None else "coded-als"
    remedy = f"See {command} --help."
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_listed(_missing(error))} must be given. {remedy}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad_value(error, error.param, remedy)
    if isinstance(error, click.NoSuchOption):
        near = _nearest(error.option_name, list(error.possibilities or ()))
        return f"no such option: {error.option_name}. {near}{remedy}"
    if isinstance(error, click.BadOptionUsage):
        takes = "must have a value; got none" if "requires" in error.message else "must stand alone; got a value"
        return f"{error.option_name} {takes}. {remedy}"
    unknown = re.match(r"No such command '(.*?)'\.", error.message)
    if unknown and error.ctx is not None and isinstance(error.ctx.command, click.Group):
        near = _nearest(unknown[1], error.ctx.command.list_commands(error.ctx))
        return f"no such command: {command} {unknown[1]}. {near}{remedy}"
    extra = re.match(r"Got unexpected extra arguments? \((.*)\)", error.message)
    if extra and error.ctx is not None:
        names = [_name(one) for one in error.ctx.command.params if isinstance(one, click.Argument)]
        takes = " ".join(names) or "no argument"
        return f"{command} takes {takes}; got also {extra[1]}. Quote a name that has spaces. {remedy}"
    return f"{error.message} {remedy}"


def as_typed(message: str, command: click.Command) -> str:
    """An error of the library with the options of the command in place of the parameters of Python."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name:
            name, spelled = option.name, _name(option)
            message = re.sub(rf"^{name}(?= (?:must|needs|works|belongs)\b)", spelled, message)
            message = re.sub(rf"\b{name}=(['\"])(.*?)\1", rf"{spelled} \2", message)
            if "_" in name:
                message = re.sub(rf"(?<![-\w]){name}\b", spelled, message)
    return message


def _missing(error: click.MissingParameter) -> list[str]:
    """The names of all parameters that must be given and are not, in the order of the help."""
    context, last = error.ctx, error.param
    assert last is not None
    if context is None:
        return [_name(last)]
    given = context.meta.get(GIVEN, ())
    missing = [one for one in context.command.params if one.required and one.name not in given]
    return [_name(one) for one in missing] or [_name(last)]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _bad_value(error: click.BadParameter, parameter: click.Parameter, remedy: str) -> str:
    got, rule = _GOT.match(error.message), _rule(parameter.type)
    if got and rule:
        return f"{_name(parameter)} must be {rule}; got {got[1]}. {remedy}"
    missing = re.match(r"(\w+) ('.*') does not exist\.", error.message)
    if missing:
        return f"{_name(parameter)} must be there; got {missing[2]}, which is not. Check the name."
    return f"{_name(parameter)}: {error.message} {remedy}"


def _rule(kind: Any) -> str:
    """The rule for a value."""
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(str, kind.choices))}"
    whole = isinstance(kind, (click.IntRange, type(click.INT)))
    noun = "a whole number" if whole else "a number" if isinstance(kind, (click.FloatRange, type(click.FLOAT))) else ""
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is not None and most is not None:
        return f"{noun} from {least} to {most}"
    return noun if least is None else f"{noun} of at least {least}"


def _name(parameter: click.Parameter) -> str:
    """The longest spelling of an option, or the name of an argument."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return str(parameter.metavar or parameter.human_readable_name)


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"Did you mean {near[0]}? " if near else ""
