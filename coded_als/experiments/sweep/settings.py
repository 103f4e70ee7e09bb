"""The settings of a sweep: from a TOML file, into ``spec.json``, and back to options of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from coded_als.errors import UsageError
from coded_als.experiments.sweep.cells import Cell
from coded_als.experiments.sweep.grids import Grid
from coded_als.experiments.sweep.reading import read_json
from coded_als.experiments.sweep.spec import SweepSpec

FORMAT = 2


def document(spec: SweepSpec, grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """What ``spec.json`` holds.

    Parameters
    ----------
    spec
        What the results depend on.
    grid, cells
        The grid and its cells.
    """
    return {
        "kind": "sweep",
        "format": FORMAT,
        **asdict(spec),
        "grid": asdict(grid),
        "cells": [cell.key() for cell in cells],
    }


def read_settings(folder: Path) -> tuple[dict[str, Any], Grid] | None:
    """Options of the command line and grid of the sweep in a folder; None where there is none.

    Parameters
    ----------
    folder
        A results folder.

    Raises
    ------
    UsageError
        When the folder holds something else, or is damaged.
    """
    if not (folder / "spec.json").exists():
        return None
    try:
        stored = read_json(folder / "spec.json")
        if (stored.get("kind"), stored.get("format")) != ("sweep", FORMAT):
            raise UsageError(
                f"--resume needs the folder of a sweep; {folder} holds something else. Choose another --out."
            )
        grid = Grid(**{field.name: tuple(stored["grid"][field.name]) for field in fields(Grid)})
        return _options(stored), grid
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--resume needs a spec that can be read; {folder / 'spec.json'} is damaged ({error}). Choose another --out."
        ) from None


def _options(stored: Mapping[str, Any]) -> dict[str, Any]:
    size, machine, iterations = stored["size"], stored["machine"], stored["iterations"]
    return {
        **{name: stored[name] for name in ("cluster", "numerics", "tolerance", "repeats", "seed")},
        "rows": size["rows"],
        "cols": size["columns"],
        "rank": size["rank"],
        "speed": machine["multiplications_per_second"],
        "bandwidth": machine["bytes_per_second"],
        "latency": machine["latency_s"],
        "als_iterations": iterations["als"],
        "lobpcg_iterations": iterations["lobpcg"],
    }
