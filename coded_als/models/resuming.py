"""The snapshot that a fit may go on from: of the same method, parameters and ratings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.iterations import Iteration
from coded_als.models.snapshot import Snapshot, digest_of, record_of

# what may differ when a fit goes on: how long it may take, and how it is computed
FREE = ("iterations", "threads")


def resumed(
    checkpoint: Checkpoint | None,
    model: FactorModel,
    matrix: Any,
    free: tuple[str, ...] = FREE,
    also: Mapping[str, Any] | None = None,
) -> Snapshot | None:
    """The snapshot to go on from, if any.

    Parameters
    ----------
    checkpoint
        Where snapshots go, or None.
    model
        What is fitted.
    matrix
        (m, n) the ratings, as `digest_of` takes them.
    free
        Parameters that may differ.
    also
        What must be the same beside parameters and ratings.

    Raises
    ------
    UsageError
        As `Checkpoint.begin`, and for a snapshot that has more iterations than are asked for.
    """
    if checkpoint is None:
        return None
    parameters = model.get_params()
    kept = {name: _plain(value) for name, value in parameters.items() if name not in free}
    snapshot = checkpoint.begin({"method": model.kind, **kept, **(also or {}), "data": digest_of(matrix)})
    if snapshot is not None and snapshot.iteration > parameters["iterations"]:
        raise UsageError(
            f"iterations must be at least the {snapshot.iteration} that the checkpoint has; "
            f"got {parameters['iterations']}. Raise them, or choose another folder."
        )
    return snapshot


Told = TypeVar("Told", bound=Iteration)


def iterations_of(snapshot: Snapshot, kind: type[Told]) -> list[Told]:
    """The iterations that led to a snapshot, as records of a kind.

    Parameters
    ----------
    snapshot
        Of the fit.
    kind
        The class of its entries.

    Raises
    ------
    UsageError
        Where they are of another form, or not as many as the snapshot says.
    """
    with snapshot.being_read():
        entries = [record_of(kind, entry) for entry in snapshot.facts["history"]]
        if [entry.index for entry in entries] != list(range(1, snapshot.iteration + 1)):
            raise ValueError(f"its history is not that of {snapshot.iteration} iterations")
        return entries


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
