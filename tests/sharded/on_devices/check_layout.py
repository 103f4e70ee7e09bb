"""What devices hold and exchange: counted from the compiled programs, and by the formula in docs/sharded.md."""

from __future__ import annotations

import numpy as np
import pytest
from collectives import exchanged_bytes
from conftest import ODD, SETTINGS, ratings

from coded_als.sharded.devices import mesh_of
from coded_als.sharded.epochs import Training
from coded_als.sharded.equations import Equations
from coded_als.sharded.objectives import Explicit, Implicit

IMPLICIT = Implicit(0.005, 0.1, 1.0)


def training(devices, dtype="float32", objective=IMPLICIT, length=SETTINGS["piece_length"]):
    equations = Equations(6, objective.biases, objective.weight, objective.bias_penalty)
    return Training(ratings(), objective, equations, mesh_of(devices), dtype, SETTINGS["batch_pieces"], length)


@pytest.mark.parametrize(
    ("devices", "dtype", "objective", "length"),
    [
        (8, "float32", IMPLICIT, 4),
        (2, "float32", IMPLICIT, 4),
        (8, "bfloat16", IMPLICIT, ODD["piece_length"]),
        (8, "float32", Explicit(2.0, by_count=True, biases=True, bias_regularization=0.5), ODD["piece_length"]),
    ],
)
def check_what_is_exchanged_is_counted_from_the_program(devices, dtype, objective, length):
    made = training(devices, dtype, objective, length)
    width, size = 6 + objective.biases, {"float32": 4, "bfloat16": 2}[dtype]
    total = 0
    for side, program in zip((made.users, made.items), made.compiled().programs, strict=True):
        counted = exchanged_bytes(program.as_text())
        # the formula: B batches, each with S rows of a table for each of N devices; and one Gram matrix
        rows = sum(group.batches * devices * group.sent for group in side.shapes)
        assert counted.pop("all-to-all") == rows * width * size
        assert counted.pop("all-reduce", 0) == (4 * width**2 if objective.weight else 0)
        assert not counted
        total += rows * width * size + (4 * width**2 if objective.weight else 0)
    assert made.layout.exchanged == total


def check_one_device_exchanges_nothing():
    made = training(1)
    assert made.layout.exchanged == 0
    assert "all-to-all" not in exchanged_bytes(made.compiled().programs[0].as_text())


def check_memory_falls_with_the_devices():
    one, eight = (training(devices) for devices in (1, 8))
    # 150 and 90 rows do not divide by 8; each batch of few entries has room for a few more
    assert eight.layout.tables == (19 + 12) * 6 * 4
    assert one.layout.tables == (150 + 90) * 6 * 4
    assert eight.layout.batches < 1.6 * one.layout.batches / 8
    for made in (one, eight):
        held = [made.put(side, np.ones((side.placement.rows, 6), np.float32)) for side in (made.users, made.items)]
        shards = [array.addressable_shards for array in held]
        assert [len(each) for each in shards] == [made.layout.devices] * 2
        assert sum(each[0].data.nbytes for each in shards) == made.layout.tables


def check_a_loop_of_unknown_length_is_not_guessed():
    text = """
%body (p: f32[2]) -> f32[2] {
  ROOT %x = f32[2]{0} all-reduce(%p), to_apply=%add
}
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %y = f32[] add(%a, %b)
}
ENTRY %main (p: f32[2]) -> f32[2] {
  ROOT %w = f32[2]{0} while(%p), condition=%c, body=%body
}
"""
    with pytest.raises(ValueError, match="known number of turns; got body"):
        exchanged_bytes(text)
    known = text.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"3"}}')
    assert exchanged_bytes(known) == {"all-reduce": 24}
