"""Help texts, and command lines that click cannot read, explained as every error of ours is: rule, got, remedy.

``coded-als help specs`` prints the SPECs, ``coded-als help COMMAND`` the help of a command: examples first, then options under
headings. A command of many options shows those that most runs need; ``--help-all`` shows the others too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import click

from coded_als.experiments.text_tables import continued

DELAY_SPECS = {
    "none": "as fast as the machine",
    "exp:mean=20ms": "exponential",
    "shifted-exp:shift=5ms,mean=20ms": "a constant, and an exponential tail of that mean",
    "uniform:low=1ms,high=9ms": "between two times",
    "pareto:scale=1ms,alpha=2": "heavy tail: P(delay > t) = (scale / t)^alpha",
    "lognormal:median=20ms,sigma=1": "a median, times e^x with x normal of that deviation",
    "normal-ops:mu=1e-10s,sigma=1e-9s": "the paper's: mean and deviation per multiplication",
    "bimodal:p=0.2,fast=5ms,slow=1s": "slow with probability p, each worker in each round",
    "markov:fast=5ms,slow=1s,enter=0.05,leave=0.3": "bursts: probabilities, per round, to turn slow and back",
    "slow:n=3,delay=30s": "the same n workers are late in every round",
    "dead:n=3": "the same n workers never respond",
    "slowdown:p=0.15,factor=5": "a worker computes factor times slower with probability p, in each round",
    "slowdown-always:n=1,factor=3": "the same n workers compute slower (below 1: faster, on the virtual clock only)",
    "slowdown-lognormal:sigma=0.5": "slower or faster by e^x, x normal of that deviation (faster: virtual clock only)",
    "slowdown-markov:factor=5,enter=0.05,leave=0.3": "bursts of slow computing",
    "measured:lambda": "cloud functions, as published",
    "measured:lambda-outliers": "the same in a run with some calls of many seconds",
    "measured:tail-at-scale": "servers that respond within milliseconds, as published",
    "measured:slow-machine": "one worker computes three times slower for good",
    "trace:FILE": "a CSV of seconds, written by --record-delays of fit and measure",
}
CODE_SPECS = {
    "uncoded": "every block on one worker: waits for all",
    "hedged:quantile=0.95": "uncoded; the other holder of a block repeats a task that is later than this quantile",
    "speculative:after=0.75,times=1.5": "uncoded; once 3/4 of the tasks are done, those later than 1.5 medians are repeated",
    "replicated:copies=2": "every block on that many workers",
    "systematic:p=21": "p blocks, and combinations of them: any p responses decode",
    "systematic:p=15,pieces=30": "each share in pieces: finished pieces of a slow worker count",
    "entangled:h=6": "the paper's code, D cut h x h",
    "entangled:p=20,r=2": "the same, D cut p x r",
    "entangled:h=4,points=real": "evaluated at circle (default), real or equispaced points",
}
TABLES = (
    ("Delay SPECs (times carry a unit: us, ms, s or min; + adds delays up)", DELAY_SPECS),
    ("Code SPECs (an omitted parameter is chosen for the workers)", CODE_SPECS),
)

# A command of fewer options shows them in one list.
MANY = 16
ADVANCED = "Rarely needed"
# Headings of the options of large commands, in the order of the help.
HEADINGS = {
    "Matrix and model": "method methods test-fraction rows cols rank entries center regularization iterations seed",
    "Workers and code": "workers code delays cluster listen keys scheduler stragglers memory memory-per-worker all",
    "Machines": "calibrate speed worker-speeds bandwidth latency message cores",
    "Runs": "quick full runs work tune cutoff try what-if price-per-hour rounds share repeats numerics j config dry-run",
    "Reading": "columns",
    "Output and progress": "out format live serve checkpoint resume timeline record-delays figure figures width rc parquet details json help help-all",
    ADVANCED: "set start stop-on validate patience tolerance weighting dtype hold-out-users dense partitions protocol solver block precomputation decoding-tolerance "
    "profile verify policy round-timeout join-timeout rejoin-timeout log-level log-json serve-token checkpoint-every header delimiter encoding repeated lobpcg-iterations "
    "krylov-iterations als-iterations",
}
_HEADING_OF = {name: heading for heading, names in reversed(HEADINGS.items()) for name in names.split()}
_METAVARS = (("INTEGER RANGE", "N"), ("FLOAT RANGE", "X"), ("INTEGER", "N"), ("FLOAT", "X"), ("PATH", "FILE"))


class CommandWithExamples(click.Command):
    """A command whose help shows examples first, and the options of a large command under headings."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), specs: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = tuple(examples)
        self.specs = specs

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, and ``--help-all`` where ``--help`` leaves some out."""
        parameters = super().get_params(ctx)
        return [*parameters, _help_all()] if len(self.params) > MANY and any(self._advanced()) else parameters

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the command; where some are missing, those typed are kept for the message."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter:
            given, _, _ = self.make_parser(ctx).parse_args(words)
            ctx.meta[GIVEN] = {name for name, value in given.items() if value}
            raise

    def _advanced(self) -> Iterator[click.Parameter]:
        return (option for option in self.params if heading_of(option) == ADVANCED)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write("".join(f"{line}\n" for line in continued(example)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then where the others and the SPECs are explained."""
        for heading, options in self.sections(ctx):
            if heading != ADVANCED or _shows_all(ctx):
                with formatter.section(heading):
                    formatter.write_dl([record(option, ctx) for option in options], col_max=25)
        notes = ["SPECs are explained by `coded-als help specs`."] if self.specs else []
        if len(self.params) > MANY and any(self._advanced()) and not _shows_all(ctx):
            notes.append(f"All options: {ctx.command_path} --help-all.")
        if notes:
            formatter.write_paragraph()
            formatter.write_text(" ".join(notes))

    def sections(self, ctx: click.Context) -> list[tuple[str, list[click.Option]]]:
        """The options under their headings; a command of few options has one."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        if len(self.params) <= MANY:
            return [("Options", options)]
        headings = [*HEADINGS, "Others"]
        headings.remove(ADVANCED)
        found = [(name, [one for one in options if heading_of(one) == name]) for name in [*headings, ADVANCED]]
        return [(name, sorted(those, key=_rank_in_heading)) for name, those in found if those]


def spelling(option: click.Parameter) -> str:
    """The longest spelling of an option, without its dashes."""
    return max(option.opts, key=len).lstrip("-")


def heading_of(option: click.Parameter) -> str:
    """The heading under which a large command shows an option."""
    return _HEADING_OF.get(spelling(option), "Others")


def _rank_in_heading(option: click.Option) -> int:
    names = HEADINGS.get(heading_of(option), "").split()
    return names.index(spelling(option)) if spelling(option) in names else len(names)


def record(option: click.Option, ctx: click.Context) -> tuple[str, str]:
    """The spelling and the text of an option in a help: short placeholders, and no ranges."""
    names, text = option.get_help_record(ctx) or ("", "")
    for long, short in _METAVARS:
        names = names.replace(long, short)
    bracket = re.search(r"\s*\[([^\[\]]*)\]$", text)
    if bracket is None:
        return names, text
    kept = [note for note in bracket[1].split("; ") if not re.fullmatch(r"[-\d.]*(<=?)?x([<>]=?[-\d.]+)?", note)]
    return names, text[: bracket.start()] + (f"  [{'; '.join(kept)}]" if kept else "")


def _help_all() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            ctx.meta[__name__] = True
            click.echo(ctx.get_help())
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show all options and exit.",
    )


def _shows_all(ctx: click.Context) -> bool:
    return bool(ctx.meta.get(__name__))


def specs_text() -> str:
    """The tables of SPECs, at most 79 columns wide."""
    formatter = click.HelpFormatter(width=79)
    for heading, table in TABLES:
        with formatter.section(heading):
            formatter.write_dl(list(table.items()), col_max=34)
    return formatter.getvalue().rstrip("\n")


@click.command("help", cls=CommandWithExamples, examples=("coded-als help specs", "coded-als help fit"))
@click.argument("topics", nargs=-1, metavar="[COMMAND|specs]")
@click.pass_context
def command(context: click.Context, topics: tuple[str, ...]) -> None:
    """Show the help of a command, or the SPECs of delays and codes."""
    if topics == ("specs",):
        click.echo(specs_text())
        return
    parent = context.parent
    assert parent is not None
    found: click.Command = parent.command
    for name in topics:
        below = found.get_command(parent, name) if isinstance(found, click.Group) else None
        if below is None:
            raise click.UsageError(f"No such command '{name}'.", ctx=parent)
        found, parent = below, click.Context(below, info_name=name, parent=parent)
    click.echo(found.get_help(parent))


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
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for option in (one for each in commands for one in each.params):
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
