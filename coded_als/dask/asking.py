"""Questions to Dask workers that may be stopped or away: a time within which they respond, and a farewell without them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, TypeVar

from distributed import Client

from coded_als.dask.plugin import remove_parts
from coded_als.errors import CodedALSError, UsageError

log = logging.getLogger(__name__)

T = TypeVar("T")
# A Dask worker that is busy responds within a second or so; longer only one that is stopped or cut off.
ASK_WITHIN_S, LEAVE_WITHIN_S = 30.0, 5.0


def started(call: Callable[[], T]) -> Future[T]:
    """What a call will have returned, in a thread that keeps nobody waiting: Dask's own calls have no time limit."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="coded-als-asking", daemon=True).start()
    return future


def asked(client: Client, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function says on each Dask worker, by address.

    Parameters
    ----------
    client
        Of the Dask cluster.
    question
        The function.
    *arguments
        Its arguments.

    Raises
    ------
    UsageError
        Where it cannot be imported there.
    CodedALSError
        When not all have responded in time.
    """
    try:
        return dict(started(lambda: client.run(question, *arguments)).result(ASK_WITHIN_S))
    except ModuleNotFoundError as error:
        raise UsageError(f"the Dask workers must have coded-als; {error}. Install it there.") from None
    except TimeoutError:
        raise CodedALSError(
            f"every Dask worker must respond within {ASK_WITHIN_S:g} s; not all did. End those that are stopped or cut off."
        ) from None


def take_off(client: Client, address: str, name: str) -> None:
    """Take a plugin, its workers and what was put there for them off a Dask cluster, if it is still there.

    What a Dask worker does that does not respond now, it does when it responds again.

    Parameters
    ----------
    client
        Of the Dask cluster; another one is opened for this where it has been closed.
    address
        Of the scheduler.
    name
        Of the plugin.
    """
    with ExitStack() as own:

        def open_client() -> Client:
            if client.status == "running":
                return client
            again = Client(address, security=client.security, set_as_default=False, timeout=LEAVE_WITHIN_S / 2)
            return own.enter_context(again)

        try:
            there = started(open_client).result(LEAVE_WITHIN_S)
            tidied = started(lambda: there.run(remove_parts, name, on_error="ignore"))
            started(lambda: there.unregister_worker_plugin(name)).result(LEAVE_WITHIN_S)
            tidied.result(LEAVE_WITHIN_S)
        except TimeoutError:
            log.warning("not every Dask worker has responded yet to the farewell of %s", name)
        except Exception as error:  # the cluster is gone with all that was on it
            log.info("no farewell to the Dask cluster: %s", error)
