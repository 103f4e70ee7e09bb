"""The settings of a sweep as files: options from TOML, and ``spec.json`` of a results folder, there and back."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from coded_als.cluster.machine import show_worker_speeds
from coded_als.errors import UsageError
from coded_als.experiments.sweep.grids import Cell, Grid, SweepSpec
from coded_als.experiments.sweep.result_folder import read_json

FORMAT = 2


def document(spec: SweepSpec, grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """The content of ``spec.json``."""
    return {
        "kind": "sweep",
        "format": FORMAT,
        **_spec(spec),
        "grid": asdict(grid),
        "cells": [cell.key() for cell in cells],
    }


def _spec(spec: SweepSpec) -> dict[str, Any]:
    """The settings as JSON has them; speeds that are all alike are left out, as in folders of earlier versions."""
    found = asdict(spec)
    speeds = list(found["machine"].pop("worker_speeds"))
    return {**found, "machine": {**found["machine"], **({"worker_speeds": speeds} if speeds else {})}}


def read_settings(folder: Path) -> tuple[dict[str, Any], Grid] | None:
    """Options of the command line and grid of the sweep in a folder; None where there is none."""
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
        **{name: stored[name] for name in ("cluster", "numerics", "repeats", "seed")},
        "decoding_tolerance": stored["tolerance"],
        "rows": size["rows"],
        "cols": size["columns"],
        "rank": size["rank"],
        "speed": machine["multiplications_per_second"],
        "bandwidth": machine["bytes_per_second"],
        "latency": machine["latency_s"],
        # a folder of an earlier version does not say it
        "worker_speeds": show_worker_speeds(machine.get("worker_speeds", ())) or None,
        **{f"{solver}_iterations": count for solver, count in iterations.items()},
    }


def read_spec_file(path: Path, options: Collection[str], repeated: Collection[str]) -> dict[str, Any]:
    """Values of options from a TOML file, by their names in ``options``."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--config must be a readable file; got {path}: {error.strerror}. Check the path.") from None
    except ValueError as error:
        raise UsageError(f"--config must be a TOML file; got {path}: {error}.") from None
    values = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in options:
            raise UsageError(f"keys of {path} must be among {', '.join(options)}; got {key!r}.")
        if isinstance(value, dict):
            raise UsageError(f"values of {path} must be texts, numbers or lists; got a table for {key!r}.")
        listed = value if isinstance(value, list) else [value]
        several = name in repeated
        values[name] = [str(item) for item in listed] if several else _single(value)
    return values


def _single(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value
