"""Coverage-guided fuzzing of what reads the network, with atheris where it installs: ``make fuzz``.

    python -m tests.fuzz_wire -max_total_time=60

Bytes are split into the frames of a message. It must be refused by `WireError`, or be a message that is written and read
again as the same; anything else that is raised ends the run with the bytes in a file ``crash-...``.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import fields
from typing import Any

import numpy as np


def frames_of_bytes(data: bytes) -> list[bytes]:
    """Frames, each after two bytes that say how long it is; the last one takes what is left."""
    frames, place = [], 0
    while place + 2 <= len(data):
        length = int.from_bytes(data[place : place + 2], "little")
        frames.append(data[place + 2 : place + 2 + length])
        place += 2 + length
    return frames


def bytes_of_frames(frames: list[bytes]) -> bytes:
    """What `frames_of_bytes` splits into these frames."""
    return b"".join(len(frame).to_bytes(2, "little") + frame for frame in frames)


def read(data: bytes) -> None:
    """Read bytes as a message, as a master or a worker would."""

    from coded_als.wire import WireError, decode, encode

    try:
        message = decode(frames_of_bytes(data))
    except WireError:
        return
    again = decode([bytes(frame) for frame in encode(message)])
    assert without_arrays(again) == without_arrays(message)
    for one, other in zip(getattr(message, "arrays", ()), getattr(again, "arrays", ()), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)


def without_arrays(message: Any) -> tuple[Any, ...]:
    """The kind of a message and its fields, arrays left out."""
    values = (getattr(message, field.name) for field in fields(message) if field.name != "arrays")
    return type(message), *values


def seeds() -> list[bytes]:
    """A real message of each kind, with and without arrays."""
    from coded_als import wire

    arrays = np.arange(6.0).reshape(1, 2, 3), np.arange(4, dtype=np.int32)
    stamps = (("D#1", 1), ("E#2", 7))
    us, task = (b"job", 1), (b"job", 1, 2, 3)
    messages = (
        wire.Store(*us, "D#1", 1, arrays[:1]),
        wire.Load(*us, "D#1", 1, 4),
        wire.Retain(*us, stamps),
        wire.Task(*task, "product", stamps, stamps[:1], 0.5, 2.0, 4, 1, 2, 0.25, arrays),
        wire.Task(*task, "product"),
        wire.Cancel(*task),
        wire.Ask(*task, 2),
        wire.Ping(*us),
        wire.Welcome(*us),
        wire.Stop(*us, "why"),
        wire.Hello(*us, 4, "memory"),
        wire.Alive(*us),
        wire.Acknowledged(*us, 7),
        wire.Absent(*us, 7, "why"),
        wire.Response(*task, 0.1, 0.2, arrays),
        wire.Response(*task),
        wire.Word(*task, 1, 0.1, 0.2, 0.3, 0.4),
        wire.Answer(*task, 2, 0.1, 0.2, 0.3, 0.4, arrays[:1]),
        wire.Superseded(*task),
        wire.Refused(*task, "why"),
        wire.Failure(*task, "why"),
    )
    return [bytes_of_frames([bytes(frame) for frame in wire.encode(message)]) for message in messages]


def main() -> int:
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris is not installed (pip install atheris: Linux and macOS, some versions of Python)")
        return 0
    import os
    import tempfile

    import atheris

    with atheris.instrument_imports(include=["coded_als"]):
        import coded_als.wire  # noqa: F401
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            with open(os.path.join(corpus, str(number)), "wb") as file:
                file.write(seed)
        atheris.Setup([sys.argv[0], *(sys.argv[1:] or ["-max_total_time=60"]), corpus], read)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
