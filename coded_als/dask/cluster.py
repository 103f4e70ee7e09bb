"""Dask clusters, found by address or file or started here, and a `coded_als.cluster.Cluster` of processes that one starts."""

from __future__ import annotations

import itertools
import json
import logging
import platform
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import zmq
from distributed import Client, LocalCluster

from coded_als.blas import one_blas_thread
from coded_als.checks import RNG, require_number, require_whole, seed_from
from coded_als.dask.plugin import CodedWorkers, public_keys, remove_parts, start_workers
from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError, reason_of
from coded_als.master.link import FAREWELL_S, Link
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, delay_stream
from coded_als.worker.addresses import is_on_this_machine, private_address
from coded_als.worker.credentials import Credentials

log = logging.getLogger(__name__)

T = TypeVar("T")
# A Dask worker that is busy responds within a second or so; longer only one that is stopped or cut off.
ASK_WITHIN_S, LEAVE_WITHIN_S = 30.0, 5.0


def started(call: Callable[[], T]) -> Future[T]:
    """The future of a call in a daemon thread, so that it can be waited for with a limit: Dask's own calls have none."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="coded-als-asking", daemon=True).start()
    return future


def asked(client: Client, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Results of a function on each Dask worker, by address.

    Raises UsageError where it cannot be imported there. Raises CodedALSError when not all have responded in time.
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
    """Take a plugin, its workers and their files off a Dask cluster, if it is still there.

    A Dask worker that is stopped deletes them when it goes on.
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


# A machine that cannot be reached mostly says nothing at all.
REACH_WITHIN_S = 3.0


def own_address_towards(scheduler: str) -> str:
    """The address of this machine that a scheduler's machine sees."""
    parts = urlsplit(scheduler)
    if parts.scheme in ("inproc", "") or parts.hostname is None:
        return "127.0.0.1"
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect((parts.hostname, parts.port or 8786))  # sends nothing
        return str(probe.getsockname()[0])


def why_unreachable(endpoint: str) -> str:
    """Why this process cannot connect to an endpoint; nothing where it can."""
    transport, _, rest = endpoint.partition("://")
    if transport == "ipc":
        family, place = socket.AF_UNIX, rest
    else:
        host, _, port = rest.rpartition(":")
        family, place = socket.AF_INET, (host, int(port))  # type: ignore[assignment]
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.settimeout(REACH_WITHIN_S)
        try:
            probe.connect(place)
        except OSError as error:
            return str(error)
    return ""


def require_reachable(endpoint: str, reasons: Mapping[str, str]) -> None:
    """`UsageError` unless every Dask worker can connect to the master."""
    failed = {address: reason for address, reason in reasons.items() if reason}
    if failed:
        address, reason = next(iter(failed.items()))
        raise UsageError(
            f"the master at {endpoint} must be reachable from every Dask worker; it is not from {len(failed)} of "
            f"{len(reasons)}, as from {address}: {reason}. Pass advertise=HOST:PORT, an address of this machine that "
            "they can connect to."
        )


def versions() -> dict[str, str]:
    """The versions that client and workers must share."""
    import coded_als

    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "NumPy": np.__version__, "coded-als": coded_als.__version__}


def require_versions(ours: Mapping[str, str], theirs: Mapping[str, Mapping[str, str]]) -> None:
    """`UsageError` unless the Dask workers have the versions of this process."""
    for address, found in theirs.items():
        for name, version in ours.items():
            if found.get(name) != version:
                raise UsageError(
                    f"the Dask workers must have the versions of this process; got {name} {found.get(name)} at {address} "
                    f"and {version} here. Install the same environment on both."
                )


@dataclass(frozen=True)
class DaskWorker:
    """One worker of a Dask cluster."""

    name: str  # the same after a restart by its nanny
    address: str  # another one after a restart
    threads: int  # tasks that run at once


class Slots:
    """The Dask workers that run the worker numbers 0, ..., W - 1."""

    def __init__(self, workers: int) -> None:
        self._vacant = set(range(workers))
        self._held: dict[str, tuple[int, ...]] = {}
        self._names: dict[str, str] = {}
        self._before: dict[str, tuple[int, ...]] = {}
        self._workers, self._crowding = workers, 0

    def assign(self, present: Mapping[str, DaskWorker]) -> dict[str, tuple[int, ...]]:
        """The numbers that each new Dask worker has to start.

        The numbers of Dask workers that are gone are vacant. One that returns under its old name gets its old numbers
        first. A Dask worker gets one for each thread or, where W exceeds the threads at the beginning, as many times
        more.

        Returns dict: numbers by address; those without any are left out.
        """
        for address in self._held.keys() - present.keys():
            self.release(address)
        new = sorted((worker for worker in present.values() if worker.address not in self._held), key=_by_name)
        given = {worker.address: self._take(self._before.get(worker.name, ())) for worker in new}
        if not self._crowding and new:
            self._crowding = -(-self._workers // sum(worker.threads for worker in new))
        for worker in new:
            own = given[worker.address]
            rest = sorted(self._vacant)[: max(0, worker.threads * self._crowding - len(own))]
            given[worker.address] = numbers = (*own, *self._take(tuple(rest)))
            self._held[worker.address], self._names[worker.address] = numbers, worker.name
        return {address: numbers for address, numbers in given.items() if numbers}

    def held(self) -> dict[str, tuple[int, ...]]:
        """Numbers by address, as they were assigned last."""
        return {address: numbers for address, numbers in self._held.items() if numbers}

    def release(self, address: str) -> None:
        """Make the numbers of a Dask worker vacant: it is gone, or could not start them."""
        numbers = self._held.pop(address, ())
        self._before[self._names.pop(address, "")] = numbers
        self._vacant.update(numbers)

    def _take(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        taken = tuple(number for number in numbers if number in self._vacant)
        self._vacant.difference_update(taken)
        return taken


def _by_name(worker: DaskWorker) -> tuple[int, str]:
    """Order in which 10 comes after 9."""
    return len(worker.name), worker.name


Provider = Callable[[str, tuple[int, ...]], None]
# Seconds between two looks at the Dask workers that have come and gone.
LOOK_AFTER_DASK_S = 0.25
# A nanny starts its worker again within about half a second, a busy machine's within seconds.
RETURN_WITHIN_S = 5.0


class DaskCluster(ZmqCluster):
    """W worker processes beside the workers of a Dask cluster.

    Dask starts them and ends them; rounds go over our own connections. The client is used, never changed or closed.
    Dask workers that are restarted by their nannies or added take over the worker numbers that are vacant; those that
    are retired are a loss. To be used from one thread at a time.

    Parameters
    ----------
    client
        A synchronous `distributed.Client`.
    workers
        Number of workers W; by default one for each thread of the Dask workers.
    advertise
        Address at which the workers find this process, as ``"HOST"`` or ``"HOST:PORT"``; by default the address that the
        scheduler's machine sees.
    delays
        Delays to inject, a SPEC or a model; none by default.
    seed
        Seed of the delays.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    round_timeout_s
        Seconds after which a round without enough responses ends with an error.
    startup_timeout_s
        How long the workers may take to start.

    Raises
    ------
    UsageError
        For parameters out of range, a Dask cluster without workers or with other versions of Python, NumPy or
        coded-als, and for workers that cannot connect to this process; nothing was started.
    CodedALSError
        When the workers do not start in time.

    Examples
    --------
    >>> from distributed import Client
    >>> from coded_als import CodedALS
    >>> from coded_als.dask import DaskCluster
    >>> with DaskCluster(Client("tcp://HOST:8786")) as cluster:  # doctest: +SKIP
    ...     model = CodedALS(rank=20).fit(ratings, cluster)
    """

    def __init__(
        self,
        client: Client,
        workers: int | None = None,
        advertise: str | None = None,
        delays: str | DelayModel = "none",
        seed: int | None = None,
        startup_timeout_s: float = 60.0,
        round_timeout_s: float = ROUND_TIMEOUT_S,
        *,
        rng: RNG = None,
    ) -> None:
        _require_client(client)
        require_number("startup_timeout_s", startup_timeout_s)
        present = dask_workers(client)
        if not present:
            raise UsageError(
                "a Dask cluster must have workers; got none. Start or scale it first (client.wait_for_workers)."
            )
        if workers is None:
            workers = sum(worker.threads for worker in present.values())
        require_whole("workers", workers, 1)
        stream = delay_stream(workers, delays, seed_from(seed, rng), round_timeout_s)
        require_versions(versions(), asked(client, versions))
        with ExitStack() as resources:
            link, credentials, allowed = _open_link(client, advertise, resources)
            require_reachable(link.endpoint, asked(client, why_unreachable, link.endpoint))
            if is_on_this_machine(link.endpoint):
                resources.enter_context(one_blas_thread())
            place = "" if link.memory is None else link.memory.place
            starter = WorkerStarter(client, Slots(workers), link.endpoint, credentials, allowed, place)
            resources.callback(starter.end)
            super().__init__(
                link, credentials.job, workers, stream, resources.pop_all(), round_timeout_s, RETURN_WITHIN_S
            )
        self._resources.callback(self._membership.dismiss)
        self.client, self.starter = client, starter
        with ExitStack() as unfinished:
            unfinished.callback(self.close)
            starter.begin()
            remedy = "Raise startup_timeout_s, or see the logs of the Dask workers."
            self._await_workers(startup_timeout_s, lambda: remedy, starter.check)
            unfinished.pop_all()


class WorkerStarter:
    """Starts workers on all Dask workers that are there, in a thread that ends with the cluster."""

    def __init__(
        self,
        client: Client,
        slots: Slots,
        endpoint: str,
        credentials: Credentials,
        allowed: dict[bytes, int] | None,
        memory: str,
    ) -> None:
        self._client, self._slots, self._allowed = client, slots, allowed
        self._scheduler = str(scheduler_identity(client)["address"])
        self.name = f"coded-als-{secrets.token_hex(8)}"
        self._plugin = CodedWorkers(endpoint, credentials, self.name, memory)
        # held while workers are started, and by callers that need them to stay where they are
        self.settled = threading.Lock()
        # called before workers are started on a Dask worker: they bring the data that the workers need
        self.providers: list[Provider] = []
        self._parts = itertools.count()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=self.name, daemon=True)
        self._error: Exception | None = None

    def begin(self) -> None:
        """Register the plugin, and start workers where they belong from now on."""
        self._client.register_plugin(self._plugin, name=self.name)
        self._thread.start()

    def homes(self) -> dict[str, tuple[int, ...]]:
        """The numbers of the workers at each address; of use while `settled` is held."""
        return self._slots.held()

    def new_parts(self, count: int) -> int:
        """The first of so many unused numbers for parts."""
        return next(itertools.islice(self._parts, count - 1, None)) - count + 1

    @property
    def refusal(self) -> UsageError | None:
        """The reason for which the workers of a new Dask worker cannot get their data, None without one."""
        return self._error if isinstance(self._error, UsageError) else None

    def check(self) -> None:
        """Raise the error that kept workers from starting, if any."""
        if self._error is not None:
            raise CodedALSError(f"workers must start on the Dask workers; {self._error}. See their logs.")

    def end(self) -> None:
        """Take the plugin, and with it the workers, off the Dask cluster, if it is still there."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_WITHIN_S)  # it may be waiting for a Dask worker that has stopped
            take_off(self._client, self._scheduler, self.name)

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                with self.settled:
                    assigned = self._slots.assign(dask_workers(self._client))
                    for address, numbers in assigned.items():
                        self._start(address, numbers)
            except Exception as error:  # the scheduler is away, or gone with its client
                log.info("the Dask scheduler does not respond: %s", error)
            self._over.wait(LOOK_AFTER_DASK_S)

    def _start(self, address: str, numbers: tuple[int, ...]) -> None:
        try:
            for provide in list(self.providers):
                provide(address, numbers)
            if self._allowed is not None:
                self._admit(self._client.run(public_keys, self.name, numbers, workers=[address])[address])
            self._client.run(start_workers, self.name, numbers, workers=[address])
            self._error = None
        except Exception as error:  # it is gone already, or cannot start processes: tried again if it is still there
            if str(error) != str(self._error):
                log.warning("workers %s could not be started at %s: %s", numbers, address, error)
            self._slots.release(address)
            self._error = error

    def _admit(self, keys: dict[int, bytes]) -> None:
        """Admit workers by their keys, and no more those that had their numbers before."""
        assert self._allowed is not None
        for key in [key for key, number in self._allowed.items() if number in keys]:
            del self._allowed[key]
        self._allowed.update({key: number for number, key in keys.items()})


def scheduler_identity(client: Client) -> dict[str, Any]:
    """The scheduler's account of itself and its workers, just now.

    `Client.scheduler_info` gives the one that the client keeps, which it renews by itself, without workers, at any moment.
    """
    assert client.scheduler is not None  # the client is running
    found: dict[str, Any] = client.sync(client.scheduler.identity)
    return found


def dask_workers(client: Client) -> dict[str, DaskWorker]:
    """The workers that a Dask cluster has just now, by address."""
    workers = scheduler_identity(client)["workers"]
    return {
        address: DaskWorker(str(worker["name"]), address, int(worker["nthreads"]))
        for address, worker in workers.items()
    }


def _require_client(client: Any) -> None:
    if not isinstance(client, Client) or client.asynchronous:
        raise UsageError(
            f"client must be a synchronous distributed.Client; got {type(client).__name__}. Pass Client(ADDRESS)."
        )
    if client.status != "running":
        raise UsageError(f"client must be connected; it is {client.status}. Open another one.")


def _open_link(
    client: Client, advertise: str | None, resources: ExitStack
) -> tuple[Link, Credentials, dict[bytes, int] | None]:
    """Listen where the workers can connect: behind a private path on this machine alone, encrypted elsewhere.

    An encrypted worker is admitted by its key; keys are added as workers are started.
    """
    host, port = _advertised(advertise)
    own = host or own_address_towards(scheduler_identity(client)["address"])
    bind = f"tcp://{'*' if host else own}:{port}"
    if host is None and is_on_this_machine(bind):
        bind = private_address(resources)
    encrypted = not is_on_this_machine(bind)
    public, secret = zmq.curve_keypair() if encrypted else (b"", b"")
    credentials = Credentials(secrets.token_bytes(16), public)
    allowed: dict[bytes, int] | None = {} if encrypted else None
    link = Link(bind, credentials.password, secret, allowed, shares_memory=True)
    resources.callback(link.close, FAREWELL_S)
    if host:
        link.endpoint = f"tcp://{host}:{link.endpoint.rpartition(':')[2]}"
    return link, credentials, allowed


def _advertised(advertise: str | None) -> tuple[str | None, str]:
    if advertise is None:
        return None, "*"
    host, colon, port = advertise.removeprefix("tcp://").partition(":")
    if not host or (colon and not port.isdigit()):
        raise UsageError(f'advertise must be "HOST" or "HOST:PORT"; got {advertise!r}.')
    return host, port or "*"


# A scheduler that is there responds within milliseconds.
CONNECT_WITHIN_S = 5


@contextmanager
def open_client(scheduler: str) -> Iterator[Client]:
    """A client of a Dask cluster, closed at the end; a cluster started here ends too."""
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
