"""Bytes that a compiled program hands to collectives, counted from its text: what a run exchanges, whatever was meant."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
_COLLECTIVE = re.compile(
    r"= (?P<shape>.*?) (?P<name>all-to-all|all-reduce|all-gather|reduce-scatter|collective-permute)(?:-done)?\("
)
_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_ARRAY = re.compile(r"\b(?P<type>[a-z]+\d*)\[(?P<sizes>[\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


@dataclass
class _Computation:
    """Its own collectives, and what it calls how often."""

    collectives: Counter[str] = field(default_factory=Counter)
    calls: list[tuple[str, int | None]] = field(default_factory=list)


def exchanged_bytes(program: str) -> dict[str, int]:
    """Bytes that come out of each kind of collective on one device in one run of a program.

    Parameters
    ----------
    program
        Text of the optimised program (HLO): ``compiled.as_text()``.

    Returns
    -------
    By the name of the collective. All branches of a conditional count.

    Raises
    ------
    ValueError
        Where a loop with collectives does not say how often it runs.
    """
    computations, entry = _parse(program)
    totals: dict[str, Counter[str]] = {}

    def total(name: str) -> Counter[str]:
        if name not in totals:
            found = computations[name]
            totals[name] = Counter(found.collectives)
            for called, times in found.calls:
                inner = total(called)
                if inner and times is None:
                    raise ValueError(
                        f"a loop with collectives must have a known number of turns; got {called}. Fix it."
                    )
                for kind, count in inner.items():
                    totals[name][kind] += count * (times or 0)
        return totals[name]

    return dict(total(entry))


def _parse(program: str) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current = "", _Computation()
    for line in program.splitlines():
        begin = _COMPUTATION.match(line)
        if begin:
            current = computations[begin["name"]] = _Computation()
            entry = begin["name"] if begin["entry"] else entry
            continue
        collective = _COLLECTIVE.search(line)
        if collective:
            current.collectives[collective["name"]] += _size(collective["shape"])
        trips = _TRIPS.search(line)
        times = 1 if " while(" not in line else int(trips[1]) if trips else None
        current.calls += [(called, times) for called in _CALLED.findall(line)]
        for branches in _BRANCHES.findall(line):
            current.calls += [(called.strip().removeprefix("%"), 1) for called in branches.split(",")]
    return computations, entry


def _size(shape: str) -> int:
    """Bytes of an array or of a tuple of arrays."""
    total = 0
    for array in _ARRAY.finditer(shape):
        bits = _BITS.get(array["type"]) or int(re.sub(r"\D", "", array["type"]))
        count = 1
        for size in filter(None, array["sizes"].split(",")):
            count *= int(size)
        total += bits * count
    return total // 8
