"""``coded-als doctor``: whether this machine is fit to run coded-als."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import click
import numpy as np

from coded_als import __version__
from coded_als.cli.common import print_json
from coded_als.cli.help import CommandWithExamples
from coded_als.errors import CodedALSError

REQUIRED = ("numpy", "scipy", "pyzmq", "msgpack", "click", "rich", "threadpoolctl")


OPTIONAL = {"numba": "baselines"}


@dataclass(frozen=True)
class SystemCheck:
    """One check: its name, whether it passed, the finding, and a remedy if not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def _versions() -> Iterator[SystemCheck]:
    yield SystemCheck("coded-als", True, f"{__version__} on Python {platform.python_version()}, {os.cpu_count()} cores")
    for name in REQUIRED:
        yield SystemCheck(name, True, version(name))
    for name, extra in OPTIONAL.items():
        try:
            yield SystemCheck(name, True, version(name))
        except PackageNotFoundError:
            yield SystemCheck(name, True, f"absent; pip install 'coded-als[{extra}]' for the sparse baselines")


def _blas() -> Iterator[SystemCheck]:
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        threads, cores = library["num_threads"], os.cpu_count() or 1
        found = f"{library['internal_api']} {library['version']}, {threads} threads"
        yield SystemCheck("BLAS", threads <= cores, found, f"Set OPENBLAS_NUM_THREADS to at most {cores}.")


def _compiled_loops() -> Iterator[SystemCheck]:
    if find_spec("numba") is None:
        return
    from coded_als.baselines.compiled import is_temporary, kept_in

    folder = kept_in()
    remedy = "Set NUMBA_CACHE_DIR to a folder that only you can write to, and run coded-als warm-up."
    if folder is None:
        yield SystemCheck("compiled loops", False, "kept nowhere: every process compiles them anew", remedy)
    elif is_temporary(folder):
        yield SystemCheck(
            "compiled loops", False, f"kept in {folder}, among temporary files, for want of a place", remedy
        )
    else:
        yield SystemCheck("compiled loops", True, f"kept in {folder}")


def _decoding() -> Iterator[SystemCheck]:
    from coded_als.als import CodedOperator
    from coded_als.cluster.inline import InlineCluster

    rng = np.random.default_rng(0)
    matrix, block = rng.standard_normal((120, 120)), rng.standard_normal((120, 5))
    product = CodedOperator(matrix, InlineCluster(27, "exp:mean=1ms"), partitions=6) @ block
    error = float(np.linalg.norm(product - matrix @ block) / np.linalg.norm(matrix @ block))
    yield SystemCheck("decoding", error < 1e-10, f"relative error {error:.0e} from 21 of 27 responses", "Report a bug.")


def _workers() -> Iterator[SystemCheck]:
    from coded_als.als import CodedOperator
    from coded_als.master import LocalCluster

    started = time.perf_counter()
    try:
        with LocalCluster(4) as cluster:
            ready_s = time.perf_counter() - started
            product: Any = CodedOperator(np.eye(6), cluster, partitions=2) @ np.ones((6, 1))
    except CodedALSError as error:
        yield SystemCheck(
            "worker processes", False, str(error), "Check that processes and loopback sockets are allowed."
        )
        return
    exact = bool(np.allclose(product, 1.0, atol=1e-12))
    yield SystemCheck("worker processes", exact, f"4 ready in {1e3 * ready_s:.0f} ms, products exact", "Report a bug.")


def _speeds() -> Iterator[SystemCheck]:
    from coded_als.experiments.calibration import CALIBRATED_WORKERS, calibrated

    try:
        machine = calibrated()
    except CodedALSError as error:
        yield SystemCheck("speeds", False, str(error), "Check that processes and loopback sockets are allowed.")
        return
    yield SystemCheck("speed", True, f"{machine.multiplications_per_second:.2g} multiplications/s of one core")
    yield SystemCheck(
        "bandwidth", True, f"{machine.bytes_per_second:.2g} bytes/s between the master and all its workers"
    )
    yield SystemCheck("latency", True, f"{1e3 * machine.latency_s:.2g} ms of a message")
    round_s = 2 * machine.sending_s(CALIBRATED_WORKERS, 0.0)
    cost = f"{1e3 * round_s:.2g} ms of the master for a round of {CALIBRATED_WORKERS} workers, {1e6 * machine.message_s:.0f} us a message"
    yield SystemCheck("cost of a round", True, cost)


CHECKS: tuple[Callable[[], Iterator[SystemCheck]], ...] = (
    _versions, _blas, _compiled_loops, _decoding, _workers, _speeds,
)  # fmt: skip


@click.command(
    "doctor", cls=CommandWithExamples,
    examples=(
        "coded-als doctor",
        "coded-als doctor --json",
    ),
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(as_json: bool) -> None:
    """Check this machine and its installation.

    Checked are versions, BLAS threads, worker processes and decoding (against NumPy). The speeds that `plan --calibrate`
    uses are measured. The exit code is 1 if a check fails.
    """
    findings = [finding for check in CHECKS for finding in check()]
    if as_json:
        print_json({"version": __version__, "findings": [vars(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else "WARN"
            click.echo(f"{mark}  {finding.name}: {finding.found}{'' if finding.ok else '. ' + finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
