"""An admitted worker whose message has no end: its connection is cut, and nobody else's."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from coded_als import CodedOperator
from coded_als.cluster import Round, all_of
from coded_als.master import RemoteCluster, link
from coded_als.worker.credentials import Credentials
from tests.master.test_by_hand import ByHand, resident_mb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bytes of a connection are counted on Linux")

PART_BYTES = 1 << 16
DATA = np.random.default_rng(0).standard_normal((60, 60))


def admitted(port: int, password: bytes) -> socket.socket:
    """A connection that has shaken hands with a ROUTER, by ZMTP 3.0 and its PLAIN mechanism (ZeroMQ RFCs 23 and 24)."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"PLAIN".ljust(20, b"\0") + bytes(32))
    received_exactly(connection, 64)
    command(connection, b"\x05HELLO" + b"\x010" + bytes([len(password)]) + password)
    received_command(connection)
    command(connection, b"\x08INITIATE" + b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER")
    received_command(connection)
    return connection


def command(connection: socket.socket, body: bytes) -> None:
    connection.sendall(bytes([4, len(body)]) + body)


def received_command(connection: socket.socket) -> bytes:
    flags, size = received_exactly(connection, 2)
    assert flags == 4
    return received_exactly(connection, size)


def received_exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        chunk = connection.recv(size - len(read))
        assert chunk, "the connection was closed"
        read += chunk
    return read


def parts_sent(connection: socket.socket, most: int) -> int:
    """How many parts of one message could be sent before the connection was cut."""
    part = bytes([3]) + PART_BYTES.to_bytes(8, "big") + bytes(PART_BYTES)
    for count in range(most):
        try:
            connection.sendall(part)
        except OSError:
            return count
    return most


def test_a_message_without_an_end_is_cut_and_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_BYTES", 1 << 20)
    by_hand, most = ByHand(tmp_path), 20_000
    by_hand.when_there_is_a_key(("--id", 0), ("--id", 1))
    try:
        with RemoteCluster(by_hand.endpoint, 2, by_hand.key_file) as cluster:
            with by_hand.key_file.open() as file:
                password = Credentials.read(file).password
            port, sent = int(by_hand.endpoint.rpartition(":")[2]), []
            before, open_before = resident_mb(os.getpid()), len(os.listdir("/proc/self/fd"))

            def send() -> None:
                with admitted(port, password) as connection:
                    sent.append(parts_sent(connection, most))

            thread = threading.Thread(target=send)
            thread.start()
            operator = CodedOperator(DATA, cluster, code="uncoded")
            peak = before
            deadline = time.monotonic() + 30
            while thread.is_alive() and time.monotonic() < deadline:
                np.testing.assert_allclose(operator @ DATA, DATA @ DATA, atol=1e-10)
                peak = max(peak, resident_mb(os.getpid()))
            thread.join(10)
            assert cluster._link._backlogs is not None
            assert cluster._link._backlogs.cut == 1
            assert sent[0] < most
            # what comes in within one look, at the speed of loopback, on top of the limit
            assert peak - before < 400
            assert set(cluster.process_ids) == {0, 1}
            np.testing.assert_allclose(operator @ DATA, DATA @ DATA, atol=1e-10)
            assert len(os.listdir("/proc/self/fd")) <= open_before
    finally:
        by_hand.end()


def test_an_honest_connection_is_not_cut_for_what_it_has_sent_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MOST_BYTES", 1 << 18)
    by_hand = ByHand(tmp_path)
    by_hand.when_there_is_a_key(("--id", 0))
    large = np.random.default_rng(1).standard_normal((300, 300))
    try:
        with RemoteCluster(by_hand.endpoint, 1, by_hand.key_file) as cluster:
            operator = CodedOperator(large, cluster, code="uncoded")
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                operator @ large  # 0.7 MB back each time
            time.sleep(2 * link.LOOK_EVERY_S)
            operator @ large
            assert cluster._link._backlogs is not None
            assert cluster._link._backlogs.cut == 0
    finally:
        by_hand.end()


def test_a_response_as_large_as_was_asked_for_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 MB, looked at many times on their way, where 64 KB are allowed beside responses."""
    monkeypatch.setattr(link, "MOST_BYTES", 1 << 16)
    monkeypatch.setattr(link, "LOOK_EVERY_S", 0.001)
    by_hand = ByHand(tmp_path)
    by_hand.when_there_is_a_key(("--id", 0))
    left, right = np.arange(4000.0).reshape(1, 4000, 1), np.ones((1, 1, 1000))
    try:
        with RemoteCluster(by_hand.endpoint, 1, by_hand.key_file, round_timeout_s=20.0) as cluster:
            cluster.store("left", [left])
            for _ in range(3):
                found = cluster.run(Round("product", ("left",), [(right,)], (), ((1, 4000, 1000),)), all_of(1))
                np.testing.assert_array_equal(found.results[0][0], left @ right)
            assert cluster._link._backlogs is not None
            assert cluster._link._backlogs.cut == 0
    finally:
        by_hand.end()
