"""``python -m coded_als.worker``: one worker, or a fleet of them on this machine."""

from __future__ import annotations

import os

from coded_als.worker.threads import ONE_BLAS_THREAD

# before anything imports NumPy: workers that fight over cores are stragglers of our own making
os.environ.update(ONE_BLAS_THREAD)

import argparse
import sys

from coded_als.errors import UsageError
from coded_als.worker.credentials import Credentials
from coded_als.worker.fleet import run_fleet
from coded_als.worker.process import end_with_stdin, run_worker


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and work; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m coded_als.worker", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="where the master listens, as tcp://HOST:PORT")
    parser.add_argument("--fleet", type=int, metavar="W", help="start W workers; their credentials come on stdin")
    parser.add_argument("--id", type=int, metavar="N", help="be worker N")
    parser.add_argument("--key-file", metavar="FILE", default="-", help="the file that the master wrote; - for stdin")
    options = parser.parse_args(arguments)
    if (options.fleet is None) == (options.id is None):
        parser.error("exactly one of --fleet and --id must be given.")
    if options.id is not None and options.id < 0:
        parser.error(f"--id must be at least 0; got {options.id}. Give each worker a number of its own.")
    try:
        if options.fleet is not None:
            run_fleet(options.fleet, options.endpoint)
            return 0
        credentials = _credentials(options.key_file)
        reason = run_worker(options.id, options.endpoint, credentials, remote=True)
    except KeyboardInterrupt:
        return 130
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    if reason:
        print(reason, file=sys.stderr)
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
