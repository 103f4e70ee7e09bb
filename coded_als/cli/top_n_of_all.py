"""The best items of all users in files, in this process or on a Dask cluster."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from coded_als.errors import UsageError
from coded_als.models.persistence import load_model


def write_top_n_of_all(model: Path, out: Path, n: int, filter_seen: bool, scheduler: str | None) -> int:
    """Write them; how many users there are.

    Parameters
    ----------
    model
        A model's file or folder.
    out
        The folder to write.
    n
        How many items for each.
    filter_seen
        Whether to leave out what a user has rated.
    scheduler
        Of a Dask cluster; None for this process.

    Raises
    ------
    UsageError
        For a model or a folder that cannot be used so.
    """
    # each needs libraries of its own
    from coded_als.models.folder import require_replaceable, save_folder
    from coded_als.models.top_n_files import TOP_N_NOTE, write_top_n_folder

    require_replaceable(out, TOP_N_NOTE)
    if scheduler is not None:
        if not os.path.isdir(model):
            raise UsageError(f"--scheduler is for a model folder (fit --out DIR/); got {model}. Remove it.")
        from coded_als.dask.scheduler import open_client
        from coded_als.dask.writing import write_top_n_on

        with open_client(scheduler) as client:
            return write_top_n_on(client, model, out, n, filter_seen)
    if os.path.isdir(model):
        return write_top_n_folder(model, out, n, filter_seen)
    with tempfile.TemporaryDirectory(prefix="coded-als-") as scratch:
        save_folder(load_model(model), Path(scratch) / "model")
        return write_top_n_folder(Path(scratch) / "model", out, n, filter_seen)
