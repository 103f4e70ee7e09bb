"""Dask clusters by address, by scheduler file, or started here for the time being."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from coded_als.dask.cluster import DaskCluster
from coded_als.errors import UsageError, reason_of
from coded_als.master.zeromq import ROUND_TIMEOUT_S

# A scheduler that is there responds within milliseconds.
CONNECT_WITHIN_S = 5


@contextmanager
def open_client(scheduler: str) -> Iterator[Client]:
    """A client of a Dask cluster, closed at the end; a cluster started here ends too.

    Raises UsageError for any other word, and without a scheduler at the address.
    """
    local = re.fullmatch(r"local:([1-9]\d{0,3})", scheduler)
    with ExitStack() as resources:
        # the error tells of attempts to connect; Dask's log of them is of no use to the user of a command
        _silence("distributed.comm", resources)
        if local:
            number = int(local[1])
            # the refusal of a task is reported in one line here, and not by its worker too
            quiet: dict[str, Any] = {"silence_logs": logging.CRITICAL}
            started = LocalCluster(n_workers=number, threads_per_worker=1, dashboard_address=":0", **quiet)
            yield resources.enter_context(Client(resources.enter_context(started)))
            return
        try:
            client = Client(**_place(scheduler), timeout=CONNECT_WITHIN_S)
        # TLS without certificates is a TypeError
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"scheduler must be the address of a Dask scheduler that is there; got {scheduler!r}: {reason_of(error)}. "
                "Start it (dask scheduler), or use local:N."
            ) from None
        yield resources.enter_context(client)


@contextmanager
def open_dask_cluster(
    scheduler: str, workers: int, delays: str, seed: int, round_timeout_s: float = ROUND_TIMEOUT_S
) -> Iterator[DaskCluster]:
    """A `DaskCluster` of W workers on a Dask cluster by name; see `open_client`."""
    with (
        open_client(scheduler) as client,
        DaskCluster(client, workers, delays=delays, seed=seed, round_timeout_s=round_timeout_s) as cluster,
    ):
        yield cluster


def _place(scheduler: str) -> dict[str, str]:
    if re.match(r"(tcp|tls|ws|wss)://.", scheduler):
        return {"address": scheduler}
    if not Path(scheduler).is_file():  # Dask would wait for it
        raise ValueError("it is neither tcp://HOST:PORT nor tls://HOST:PORT nor local:N nor a file that is there")
    content = json.loads(Path(scheduler).read_text())
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise ValueError("the file names no address, as those do that a scheduler writes")
    return {"scheduler_file": scheduler}


def _silence(name: str, resources: ExitStack) -> None:
    logger = logging.getLogger(name)
    resources.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.CRITICAL)
