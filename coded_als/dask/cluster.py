"""A `coded_als.cluster.Cluster` of processes that a Dask cluster starts."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import zmq
from distributed import Client

from coded_als.checks import require_number, require_whole
from coded_als.dask.asking import LEAVE_WITHIN_S, asked, take_off
from coded_als.dask.plugin import CodedWorkers, public_keys, start_workers
from coded_als.dask.reach import own_address_towards, require_reachable, require_versions, versions, why_unreachable
from coded_als.dask.slots import DaskWorker, Slots
from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.master.blas import give_blas_its_threads_back, keep_blas_to_one_thread
from coded_als.master.link import Link
from coded_als.master.local import private_address
from coded_als.master.remote import FAREWELL_S, is_on_this_machine
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, delay_stream
from coded_als.worker.credentials import Credentials

log = logging.getLogger(__name__)

Provider = Callable[[str, tuple[int, ...]], None]
# How often it is seen who has come to the Dask cluster and who is gone.
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
        Where the workers find this process, as ``"HOST"`` or ``"HOST:PORT"``; by default the address that the
        scheduler's machine sees.
    delays, seed, round_timeout_s
        As of `coded_als.LocalCluster`.
    startup_timeout_s
        How long the workers may take to start.

    Raises
    ------
    UsageError
        For parameters out of range, a Dask cluster without workers or with other versions of Python, NumPy or
        coded-als, and for workers that cannot connect to this process; nothing was started.
    CodedALSError
        When the workers do not start in time.
    """

    def __init__(
        self,
        client: Client,
        workers: int | None = None,
        advertise: str | None = None,
        delays: str | DelayModel = "none",
        seed: int = 0,
        startup_timeout_s: float = 60.0,
        round_timeout_s: float = ROUND_TIMEOUT_S,
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
        stream = delay_stream(workers, delays, seed, round_timeout_s)
        require_versions(versions(), asked(client, versions))
        with ExitStack() as resources:
            link, credentials, allowed = _open_link(client, advertise, resources)
            require_reachable(link.endpoint, asked(client, why_unreachable, link.endpoint))
            if is_on_this_machine(link.endpoint):
                keep_blas_to_one_thread()
                resources.callback(give_blas_its_threads_back)
            place = "" if link.memory is None else link.memory.place
            starter = Starter(client, Slots(workers), link.endpoint, credentials, allowed, place)
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


class Starter:
    """Starts workers on whatever Dask workers there are, in a thread that ends with the cluster."""

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
        self._scheduler = str(client.scheduler_info(n_workers=0)["address"])
        self.name = f"coded-als-{secrets.token_hex(8)}"
        self._plugin = CodedWorkers(endpoint, credentials, self.name, memory)
        # held while workers are started, and by whoever needs them to stay where they are
        self.settled = threading.Lock()
        # asked before workers are started somewhere: they see to it that what these need lies there
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
        """The first of so many numbers for parts that nobody else uses."""
        return next(itertools.islice(self._parts, count - 1, None)) - count + 1

    @property
    def refusal(self) -> UsageError | None:
        """Why the workers of a Dask worker that has come cannot be given what they need, if that is so now."""
        return self._error if isinstance(self._error, UsageError) else None

    def check(self) -> None:
        """Raise what kept workers from starting."""
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


def dask_workers(client: Client) -> dict[str, DaskWorker]:
    """The workers that a Dask cluster has just now, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
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

    Who is encrypted is admitted by its key; those are added as workers are started.
    """
    host, port = _advertised(advertise)
    own = host or own_address_towards(client.scheduler_info(n_workers=0)["address"])
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
        raise UsageError(f'advertise must be "HOST" or "HOST:PORT"; got {advertise!r}. Correct it.')
    return host, port or "*"
