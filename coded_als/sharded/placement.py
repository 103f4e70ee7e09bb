"""Rows of a factor table dealt to devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers

# the fractional parts of its multiples spread evenly over [0, 1), however many are taken
_GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the rows of one table are: row r is row ``slot`` of device ``device``, at ``device * height + slot``.

    Every device has the same number of rows, some of which may be unused, and about the same number of entries.
    Neighbouring slots hold rows of very different lengths, so that every run of slots has about as many entries
    as any other.

    Parameters
    ----------
    devices
        N.
    height
        Rows of each device.
    position
        (rows,) place of each row in the table of ``devices * height`` rows.
    """

    devices: int
    height: int
    position: Integers

    @property
    def rows(self) -> int:
        """Rows that are in use."""
        return len(self.position)

    @property
    def total(self) -> int:
        """Rows of the table, used or not."""
        return self.devices * self.height

    def spread(self, table: NDArray[Any]) -> NDArray[Any]:
        """Rows (rows, ...) in the order of positions, (total, ...); unused places are zero."""
        placed = np.zeros((self.total, *table.shape[1:]), table.dtype)
        placed[self.position] = table
        return placed

    def collect(self, placed: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `spread`: (total, ...) to (rows, ...)."""
        return placed[self.position]


def deal_to_devices(lengths: NDArray[Any], devices: int) -> Placement:
    """Deal rows to devices.

    Parameters
    ----------
    lengths
        (rows,) entries of each.
    devices
        N.

    Returns
    -------
    Placement
        The rows, longest first, go to the devices like cards, forth and back. A device's rows are then strewn over
        its slots.
    """
    rows = len(lengths)
    height = -(-rows // devices)
    place = np.arange(rows)
    turn, device = np.divmod(place, devices)
    device = np.where(turn % 2, devices - 1 - device, device)
    slot_of_turn = np.argsort(np.argsort(np.arange(height) * _GOLDEN % 1, kind="stable"))
    position = np.empty(rows, dtype=np.int64)
    position[np.argsort(-np.asarray(lengths), kind="stable")] = device * height + slot_of_turn[turn]
    return Placement(devices, height, position)
