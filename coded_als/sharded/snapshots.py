"""Snapshots of a sharded fit: tables without their placement, so that other devices can go on from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import sparse

from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, Snapshot, digest
from coded_als.models.iterations import Iteration

# what may differ when a fit goes on: where and how it is computed, how long, and what is done with it afterwards
_FREE = ("devices", "batch_pieces", "piece_length", "iterations", "top_n_recall")


def begin(
    checkpoint: Checkpoint | None, parameters: Mapping[str, Any], matrix: sparse.csr_array
) -> tuple[Snapshot | None, list[Iteration]]:
    """The snapshot to go on from, if any, and the iterations that led to it.

    Parameters
    ----------
    checkpoint
        Where snapshots go, or None.
    parameters
        Of the model, by name.
    matrix
        (m, n) the ratings, in canonical form.

    Raises
    ------
    UsageError
        As `Checkpoint.begin`, and for a snapshot that has more iterations than are asked for.
    """
    if checkpoint is None:
        return None, []
    kept = {name: _plain(value) for name, value in parameters.items() if name not in _FREE}
    data = digest(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
    snapshot = checkpoint.begin({"method": "sharded", **kept, "data": data})
    if snapshot is None:
        return None, []
    if snapshot.iteration > parameters["iterations"]:
        raise UsageError(
            f"iterations must be at least the {snapshot.iteration} that the checkpoint has; "
            f"got {parameters['iterations']}. Raise them, or choose another folder."
        )
    return snapshot, [Iteration(**entry) for entry in snapshot.facts["history"]]


def facts(history: list[Iteration]) -> dict[str, Any]:
    """What a snapshot says beside its tables."""
    return {"history": [asdict(entry) for entry in history]}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
