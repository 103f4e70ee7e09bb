"""The command line: one file per command, each loaded when it is asked for."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from coded_als import __version__
from coded_als.errors import CodedALSError, UsageError
from coded_als.specs import load_plugins

# error that a group without a command raises; older versions of click show the help themselves
_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())

# name -> (module, one line of help): a command is imported when it runs, so that `--help` is quick
COMMANDS = {
    "fit": ("coded_als.cli.fit", "Factorize a rating matrix and save the model."),
    "recommend": ("coded_als.cli.recommend", "Recommend items to users of a saved model."),
    "split": ("coded_als.cli.split", "Split ratings into a training and a test file."),
    "evaluate": ("coded_als.cli.evaluate", "Evaluate a saved model on test ratings."),
    "compare": ("coded_als.cli.compare", "Compare methods on one split of the ratings."),
    "export": ("coded_als.cli.export", "Write the vectors of a saved model for an index."),
    "serve": ("coded_als.cli.serve", "Serve recommendations of a saved model over HTTP."),
    "tune": ("coded_als.cli.tune", "Search the parameters of methods within a time."),
    "demo": ("coded_als.cli.demo", "Run coded, copied and plain fits with stragglers."),
    "plan": ("coded_als.cli.plan", "Decide whether coding pays on a cluster, and how."),
    "codes": ("coded_als.cli.codes", "Compare codes: memory, work, messages, error, time."),
    "threshold": ("coded_als.cli.threshold", "Count the responses that a code needs."),
    "check-code": ("coded_als.cli.check_code", "Test a code, and search its worst survivors."),
    "sweep": ("coded_als.cli.sweep", "Run a grid of codes, workers, delays and solvers."),
    "reproduce": ("coded_als.cli.reproduce", "Reproduce the tables of the paper."),
    "report": ("coded_als.cli.report", "Write one HTML file from stored results."),
    "measure": ("coded_als.cli.measure", "Measure the workers of a cluster, without a fit."),
    "keys": ("coded_als.cli.keys", "Make keys for a master and remote workers."),
    "worker": ("coded_als.cli.worker", "Run a worker, here or on another machine."),
    "doctor": ("coded_als.cli.doctor", "Check this machine and its installation."),
    "warm-up": ("coded_als.cli.warm_up", "Compile the loops of the sparse methods."),
    "help": ("coded_als.cli.help", "Show the help of a command, or of SPECs."),
}
SECTIONS = {
    "Factorize and recommend": "fit recommend split evaluate compare tune export serve",
    "Plan and study": "demo plan codes threshold check-code sweep reproduce report",
    "Cluster": "measure keys worker",
    "Tools": "doctor warm-up help",
}


class LazyGroup(click.Group):
    """A group that imports its commands on demand and prints errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported only now; None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists of commands without importing them."""
        listed = {name for names in SECTIONS.values() for name in names.split()}
        for title, names in {**SECTIONS, "Others": " ".join(name for name in COMMANDS if name not in listed)}.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name, COMMANDS[name][1]) for name in names.split()])
        formatter.write_paragraph()
        formatter.write_text("Options and examples of a command: coded-als COMMAND --help.")

    def main(self, *arguments: Any, **options: Any) -> Any:
        _hold_standard_streams()
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the words before the command; a mistake in them is one line and exit code 2."""
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            _refuse(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our errors and mistakes of typing are one line and exit code 2."""
        try:
            load_plugins()  # also for commands that go through all codes there are
            result = super().invoke(ctx)
            sys.stdout.flush()
        except click.UsageError as error:
            _refuse(error)
        except CodedALSError as error:
            click.echo(f"Error: {self._as_typed(error, ctx)}", err=True)
            sys.exit(2 if isinstance(error, UsageError) else 1)
        except MemoryError as error:
            click.echo(f"Error: memory must hold the work; {error or 'it is full'}. Lower the numbers.", err=True)
            sys.exit(1)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # a closed pipe is the reader's wish, and click's business
            if error.filename is not None:
                click.echo(f"Error: {error.filename} must be there and open to this user; {error.strerror}.", err=True)
                sys.exit(1)
            # the unwritten text is still in the buffer and would fail once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            click.echo(
                f"Error: {error.strerror or error}; the output is incomplete. Free the disk or redirect.", err=True
            )
            sys.exit(1)
        return result

    def _as_typed(self, error: CodedALSError, ctx: click.Context) -> str:
        """The error with the options of the command that raised it."""
        from coded_als.cli.help import as_typed

        command = None if ctx.invoked_subcommand is None else self.get_command(ctx, ctx.invoked_subcommand)
        return str(error) if command is None else as_typed(str(error), command)


def _refuse(error: click.UsageError) -> NoReturn:
    """Explain a mistake of typing; a group without a command shows its help."""
    if isinstance(error, _HELP):
        raise error
    from coded_als.cli.help import explained

    click.echo(f"Error: {explained(error)}", err=True)
    sys.exit(2)


def _hold_standard_streams() -> None:
    """Refuse to run without stdout, and leave none of its two neighbours' numbers to the next file that is opened."""
    if sys.stderr is None or sys.stdin is None or sys.stdout is None:
        while (held := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(held)
        sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    if sys.stdout is None:
        click.echo("Error: stdout must be open; it is closed. Send it to a file, or to /dev/null.", err=True)
        sys.exit(2)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="coded-als")
def main() -> None:
    """Matrix factorization on a cluster that does not wait for its slow machines."""
