"""``python -m coded_als.worker``: one worker, or many on this machine."""

from __future__ import annotations

import os
import sys

from coded_als.worker.blas_threads import blas_threads, threads_asked_for

# before anything imports NumPy: workers that fight over cores are stragglers of our own making
os.environ.update(blas_threads(threads_asked_for(sys.argv[1:])))

import argparse
import logging

from coded_als import kernels as sparse_loops
from coded_als.errors import UsageError
from coded_als.wire import ANY_NUMBER
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import run_enlisted, run_fleet
from coded_als.worker.logs import LEVELS, start_logging
from coded_als.worker.parts import PartFolder
from coded_als.worker.process import end_with_stdin, run_worker

log = logging.getLogger("coded_als.worker")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and work; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m coded_als.worker", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="where the master listens, as tcp://HOST:PORT")
    parser.add_argument("--fleet", type=int, metavar="W", help="start W workers; their credentials come on stdin")
    parser.add_argument(
        "--enlist", action="store_true", help="start the workers that stdin names, each with credentials"
    )
    parser.add_argument("--restart", action="store_true", help="start the workers of a fleet again that died")
    parser.add_argument("--id", type=int, metavar="N", help="be worker N; by default the first number that is free")
    parser.add_argument("--key-file", metavar="FILE", default="-", help="the file that the master wrote; - for stdin")
    parser.add_argument("--memory-limit", type=int, metavar="MB", help="memory that the worker may hold")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="BLAS threads of the worker")
    parser.add_argument("--log-level", choices=LEVELS, help="log to stderr from this level on")
    parser.add_argument("--log-json", action="store_true", help="log one JSON document a line")
    parser.add_argument("--parts", metavar="FOLDER", help="where arrays lie that were put here for the worker")
    parser.add_argument("--memory", metavar="PLACE", default="", help="memory that the master shares, on its machine")
    options = parser.parse_args(arguments)
    if (options.fleet is not None) + options.enlist + (options.id is not None) > 1:
        parser.error("at most one of --fleet, --enlist and --id can be given.")
    if options.id is not None and options.id < 0:
        parser.error("--id must be at least 0.")
    if options.log_level or options.log_json:
        start_logging(options.log_level or "warning", options.log_json)
    # before workers are forked and before their memory is limited
    sparse_loops.load()
    try:
        if options.fleet is not None:
            run_fleet(options.fleet, options.endpoint, options.restart, options.memory)
            return 0
        parts = None if options.parts is None else PartFolder(options.parts)
        if options.enlist:
            return run_enlisted(options.endpoint, parts, options.memory)
        credentials = _credentials(options.key_file)
        number = ANY_NUMBER if options.id is None else options.id
        limit_bytes = None if options.memory_limit is None else options.memory_limit << 20
        reason = run_worker(
            number, options.endpoint, credentials, remote=True, memory_limit_bytes=limit_bytes, parts=parts
        )
    except KeyboardInterrupt:
        return 130
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if reason:
        log.error("%s", reason, extra={"event": "ended"})
    return 1 if reason else 0


def _credentials(key_file: str) -> Credentials:
    if key_file != "-":
        try:
            with open(key_file) as stream:
                return Credentials.read(stream)
        except OSError as error:
            raise UsageError(
                f"a key file must be readable; got {key_file}: {error.strerror}. Copy the file that the master wrote."
            ) from None
    credentials = Credentials.read(sys.stdin)
    end_with_stdin()
    return credentials


if __name__ == "__main__":
    sys.exit(main())
