"""``coded-als measure``: the speeds, links and delays of the workers of a cluster, without a fit."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from coded_als.cli.clusters import (
    ClusterOptions,
    cluster_name,
    cluster_of,
    cluster_words,
    require_cluster,
    takes_cluster,
)
from coded_als.cli.common import RATE, TIME, picked, print_json, progress, takes_logging
from coded_als.cli.help import CommandWithExamples
from coded_als.delays.spec import parse_delays
from coded_als.errors import UsageError

# A worker that is silent for so long is measured no longer; a fit waits longer.
ROUND_TIMEOUT_S = 30.0


@click.command(
    "measure", cls=CommandWithExamples, specs=True,
    examples=(
        "coded-als measure --workers 4 --rounds 10",
        "coded-als measure --listen tcp://0.0.0.0:5555 --keys keys/ --workers 20 --record-delays delays.csv",
        "coded-als measure --scheduler tcp://HOST:8786 --workers 20 --record-delays delays.csv",
    ),
)  # fmt: skip
@click.option("--rounds", default=50, show_default=True, type=click.IntRange(1), help="Rounds of all workers together.")
@click.option(
    "--share", metavar="ROWSxCOLS", help="Size of the matrix of each worker.  [default: enough for 15 ms of work]"
)
@click.option(
    "--rank", "columns", default=25, show_default=True, type=click.IntRange(1),
    help="Columns of the block that a worker multiplies.",
)  # fmt: skip
@click.option("--record-delays", type=click.Path(path_type=Path), help="Write the delays as a CSV for `trace:FILE`.")
@takes_cluster
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the injected delays.")
@takes_logging
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Measure the workers of a cluster: speed, link, latency, waiting and computing times.

    Every worker is probed alone, with a small message, a large one (1 MB both ways) and work. Then all workers compute
    together for --rounds rounds. The differences between workers are told in words: a worker that is slow always, or at
    times; a narrow link; late answers. With --record-delays the rounds go to a file, for `coded-als plan --delays FILE`.
    """
    options = picked(ClusterOptions, given)
    require_cluster(context, options)
    parse_delays(options.delays)
    share, trace = _share(given["share"]), given["record_delays"]
    if trace is not None and not trace.absolute().parent.is_dir():
        raise UsageError(f"--record-delays must be a file in an existing folder; got {trace}. Make the folder.")
    from coded_als.experiments.measuring import measure

    if cluster_name(options) in ("local", "remote", "dask") and options.round_timeout_s is None:
        options = replace(options, round_timeout_s=ROUND_TIMEOUT_S)
    with progress("waiting for the workers") as line, cluster_of(options) as cluster:
        line.say("measuring")
        found = measure(cluster, given["rounds"], share, given["columns"])
    if trace is not None:
        found.trace.save(trace)
    document = {
        "workers": [worker.row(found.machine) for worker in found.workers],
        "silent": found.silent,
        "findings": found.findings(),
        "rounds": found.rounds,
        "multiplications_per_second": found.machine.multiplications_per_second,
        "times_slower_together": found.times_slower_together,
        "bytes_per_second": found.machine.bytes_per_second,
        "latency_seconds": found.machine.latency_s,
        "message_seconds": found.machine.message_s,
        "trace": None if trace is None else str(trace),
        "command": None if trace is None else plan_command(machine_words(found.machine_together), options, trace),
    }
    if given["as_json"]:
        print_json(document)
    else:
        click.echo(measured_text(document))


def machine_words(machine: Any) -> list[str]:
    """The options of plan that describe a measured machine."""
    speeds = {
        "--speed": f"{machine.multiplications_per_second:.3g}",
        "--bandwidth": RATE.written(_rounded(machine.bytes_per_second)),
        "--latency": TIME.written(_rounded(machine.latency_s)),
        "--message": TIME.written(_rounded(machine.message_s)),
    }
    if machine.cores is not None:
        speeds["--cores"] = str(machine.cores)
    return [word for pair in speeds.items() for word in pair]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def plan_command(speeds: list[str], options: ClusterOptions, trace: Path) -> str:
    """The command that plans for the measured cluster."""
    words = ["--workers", str(options.workers), "--delays", str(trace), *speeds, *cluster_words(options)]
    return f"coded-als plan --rows ROWS --cols COLS --rank RANK {shlex.join(words)}"


def measured_text(document: dict[str, Any]) -> str:
    """The measurement for people."""
    from coded_als.experiments.text_tables import as_text

    heads = ["worker", "address", "10^9 mult./s", "times slower", "link [MB/s]", "latency [ms]"]
    heads += ["waiting [ms] (95 %)", "computing [ms] (95 %)", "missed"]
    body = [
        [
            str(row["worker"]),
            row["address"] or "-",
            f"{row['multiplications_per_second'] / 1e9:.3g}",
            f"{row['times_slower']:.2f}",
            f"{row['bytes_per_second'] / 1e6:.3g}",
            f"{1e3 * row['latency_seconds']:.3g}",
            *(
                f"{1e3 * row[f'{kind}_seconds_median']:.3g} ({1e3 * row[f'{kind}_seconds_95']:.3g})"
                for kind in ("waiting", "computing")
            ),
            str(row["missed"]),
        ]
        for row in document["workers"]
    ]
    findings = document["findings"] or ["The workers are alike."]
    if document["command"] is None:
        following = "Next: add --record-delays FILE, and give the file to coded-als plan --delays."
    else:
        following = f"Wrote {document['trace']}; next:\n  {document['command']}"
    return "\n".join([as_text(heads, body), "", *findings, "", following])


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", text.strip())
    if match is None:
        raise UsageError(f"--share must be ROWSxCOLS like 1200x1000; got {text!r}.")
    return int(match[1]), int(match[2])
