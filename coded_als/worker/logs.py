"""The log of a master or a worker on stderr, as text or as one JSON document a line."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warning", "error")
# Fields that a record may have besides: the change of a worker, its number, the number of its key, its address.
FIELDS = ("event", "worker", "key", "address")


class JsonLine(logging.Formatter):
    """A record as a JSON document."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {"time": when, "level": record.levelname.lower(), "message": record.getMessage()}
        document |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        return json.dumps(document)


class OnStderr(logging.Handler):
    """Writes each record to the present stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        # a log that nobody reads any more must not end the work
        with suppress(OSError):
            print(self.format(record), file=sys.stderr, flush=True)


def start_logging(level: str, as_json: bool) -> None:
    """Write the records of coded-als from this level on to stderr."""
    handler = OnStderr()
    handler.setFormatter(JsonLine() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("coded_als")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
