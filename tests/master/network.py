"""Network namespaces of a test: machines of their own behind a cable that it can cut or make lossy."""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import subprocess
from typing import Self

import pytest

# Addresses that no real network should have, those for benchmarks (RFC 2544); other ones in each test process.
NETWORK, CABLES = ipaddress.ip_address("198.18.0.0"), 1 << 15
_numbers = itertools.count()


def command(*words: object) -> None:
    """Run a command that must succeed."""
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def require_namespaces() -> None:
    """Skip where this machine makes no network namespaces."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip of iproute2")
    name = f"cals-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"makes no network namespaces: {made.stderr.strip()}")
    command("ip", "netns", "del", name)


class Machine:
    """A namespace with one cable to the test's own.

    Attributes
    ----------
    gateway
        The address of this end of the cable, where its processes find the test's.
    """

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"cals-{os.getpid()}-{number}"
        self._cable = f"c{os.getpid() % 10**6}-{number}"
        first = NETWORK + 4 * ((64 * os.getpid() + number) % CABLES)
        self.gateway, self._address = str(first + 1), str(first + 2)

    def __enter__(self) -> Self:
        command("ip", "netns", "add", self.name)
        try:
            command("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth", "netns", self.name)
            command("ip", "addr", "add", f"{self.gateway}/30", "dev", self._cable)
            command("ip", "link", "set", self._cable, "up")
            for words in (("addr", "add", f"{self._address}/30", "dev", "eth"), ("link", "set", "eth", "up")):
                command("ip", "-n", self.name, *words)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", self._cable], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """Start a process on it."""
        inside = ["ip", "netns", "exec", self.name, *map(str, words)]
        return subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def partition(self) -> None:
        """Let no packet through, in neither direction, and tell nobody."""
        self._drop("drop")

    def lose(self, percent: int) -> None:
        """Let this share of the packets be lost, in either direction."""
        self._drop(f"numgen random mod 100 < {percent} drop")

    def heal(self) -> None:
        """Let all through again."""
        self._nft("flush ruleset")

    def _drop(self, rule: str) -> None:
        self._nft("add table inet t")
        for hook in ("input", "output"):
            self._nft(f"add chain inet t {hook} {{ type filter hook {hook} priority 0; }}")
            self._nft(f"add rule inet t {hook} {rule}")

    def _nft(self, words: str) -> None:
        if shutil.which("nft") is None:
            pytest.skip("needs nft of nftables")
        command("ip", "netns", "exec", self.name, "nft", words)
