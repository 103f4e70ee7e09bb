"""A Dask cluster of two hosts, network namespaces with TLS between Dask's parts and CURVE between ours, cut in two for 5 s."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from coded_als.baselines import ImplicitALS
from coded_als.dask import DaskCluster, Dataset, fit_dataset
from coded_als.data import load_ratings
from tests.dask.test_dataset import NAMES, TABLE, write_parts
from tests.master.network import Machine, require_namespaces

PARTITION_S = 5.0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key."""
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dask"]
    try:
        subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl, which makes certificates")
    return files


@pytest.fixture
def two_hosts(certificate: tuple[str, str]) -> Iterator[tuple[Any, Machine]]:
    """A client of a Dask cluster with a worker here and one behind a cable."""
    from distributed import Client, LocalCluster, Security

    require_namespaces()
    cert, key = certificate
    parts = {
        f"tls_{part}_{kind}": file
        for part in ("client", "scheduler", "worker")
        for kind, file in (("cert", cert), ("key", key))
    }
    security = Security(tls_ca_file=cert, require_encryption=True, **parts)
    with Machine() as machine:
        tls = {"protocol": "tls", "security": security, "host": machine.gateway, "dashboard_address": ":0"}
        with LocalCluster(n_workers=1, threads_per_worker=1, **tls) as dask, Client(dask, security=security) as client:
            files = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
            program = (sys.executable, "-m", "distributed.cli.dask_worker", dask.scheduler_address, "--nthreads", "1")
            other = machine.start(*program, *files, "--no-dashboard", "--name", "far")
            try:
                client.wait_for_workers(2, timeout=60)
                yield client, machine
            finally:
                other.terminate()
                other.wait()


@pytest.mark.slow
def test_a_fit_goes_on_when_two_hosts_were_cut_apart(two_hosts: tuple[Any, Machine], tmp_path: Path) -> None:
    client, machine = two_hosts
    folder = tmp_path / "parts"
    folder.mkdir()
    undisturbed = ImplicitALS(3, iterations=6, dtype="float64").fit(load_ratings(TABLE, columns=NAMES))
    with DaskCluster(client, 2) as cluster:
        assert cluster._link.endpoint.startswith(f"tcp://{machine.gateway}:")
        assert cluster._link._router.curve_server
        dataset = Dataset.find(client, write_parts(TABLE, folder), NAMES)
        healing: list[threading.Timer] = []

        def cut(entry: Any) -> None:
            if entry.index == 2:
                machine.partition()
                healing.append(threading.Timer(PARTITION_S, machine.heal))
                healing[0].start()

        started = time.monotonic()
        model = fit_dataset(ImplicitALS(3, iterations=6, dtype="float64"), dataset, cluster, callback=cut)
        assert time.monotonic() - started > PARTITION_S
        healing[0].join()
    np.testing.assert_allclose(model.user_factors_, undisturbed.user_factors_, atol=1e-8)
