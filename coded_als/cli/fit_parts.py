"""Fits of part files on a Dask cluster, whose data this process never sees."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from coded_als.cli.clusters import cluster_of
from coded_als.cli.common import progress
from coded_als.cli.fitting import COMMON, Fitted
from coded_als.cli.methods import make_model
from coded_als.cli.reading import parts_document
from coded_als.cli.recordings import recorders_on
from coded_als.cli.summaries import coded_summary, sparse_summary
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import HEADER, require_replaceable

METHODS = ("coded", "ridge", "implicit")
# Options that need the ratings in this process, or another cluster.
FOREIGN = (
    "dense",
    "hold_out_users",
    "verify",
    "live",
    "serve",
    "cluster_kind",
)


@dataclass(frozen=True)
class Found:
    """A dataset as the summary of a fit tells of it."""

    source: str
    shape: tuple[int, int]


def are_parts(source: str) -> bool:
    """Whether a source of ratings is a pattern or a folder of part files."""
    return os.path.isdir(source) or (glob.has_magic(source) and not os.path.exists(source))


def fit_parts(
    context: click.Context,
    source: str,
    method: str,
    reading: dict[str, Any],
    out: Path | None,
    options: dict[str, Any],
    checkpoint: Checkpoint | None,
) -> Fitted:
    """Fit part files, and save the model while the workers still know what each user has rated.

    Parameters
    ----------
    context
        Of the command.
    source
        Pattern or folder.
    method
        One of `METHODS`.
    reading
        How the files are read: columns, and for text the rest of `coded_als.data.dialect.TextOptions`, and ``repeated``.
    out
        Where to: a file, or ``DIR/``.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.

    Raises
    ------
    UsageError
        For what is no dataset, options that need the ratings here, and a scheduler that is not there.
    """
    _require(context, source, method, options)
    if out is not None and out.suffix != ".npz":
        require_replaceable(out, HEADER)
    # each needs libraries of its own
    from coded_als.baselines.policies import parse_policy
    from coded_als.dask.cluster import DaskCluster
    from coded_als.dask.dataset import Dataset
    from coded_als.dask.fitting import fit_dataset
    from coded_als.dask.part_files import find_pieces
    from coded_als.dask.writing import write_model
    from coded_als.data.dialect import TextOptions

    text = TextOptions(*(reading[name] for name in ("columns", "header", "delimiter", "encoding")))
    find_pieces(source, text)  # before anything is started
    model: Any = make_model(method, _parameters(method, options))
    model.require_installed()
    policy = None if method == "coded" else parse_policy(options["policy"] or "wait")
    workers, started = options["workers"], time.perf_counter()
    with progress("starting workers") as line, cluster_of(options) as cluster:
        assert isinstance(cluster, DaskCluster)
        recorders = recorders_on(cluster, options)
        line.say("numbering the ids")
        dataset = Dataset.find(cluster.client, source, text, reading["repeated"])
        line.say("giving out the data")
        fit_dataset(model, dataset, cluster, policy, callback=line.iteration, checkpoint=checkpoint)
        seconds = time.perf_counter() - started
        if out is not None:
            line.say("saving")
            _save(model, out, lambda folder: write_model(model, dataset, cluster, folder))
    found = Found(source, dataset.shape)
    summary = (
        coded_summary(model, found, workers, seconds) if method == "coded" else sparse_summary(model, found, seconds)
    )
    summary.update(
        {
            "workers": workers,
            "cluster": "dask",
            "delays": options["delays"],
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "clock_of_seconds_per_iteration": "wall",
        }
    )
    summary["read"] = parts_document(dataset)
    if policy is not None:
        summary["policy"] = options["policy"] or "wait"
    return Fitted(model, summary, recorders)


def _parameters(method: str, options: dict[str, Any]) -> dict[str, Any]:
    if method != "coded":
        return {name: options[name] for name in COMMON}
    from coded_als.als import CodedALS

    known = {name: options[name] for name in CodedALS().get_params() if name in options}
    known["solver"] = known["solver"] or ("als" if known["protocol"] == "paper" else "lobpcg")
    return known


def _require(context: click.Context, source: str, method: str, options: dict[str, Any]) -> None:
    if options["scheduler"] is None:
        raise UsageError(
            f"part files are read by the workers of a Dask cluster; got {source} without one. Add --scheduler local:2."
        )
    if method not in METHODS:
        raise UsageError(
            f"part files are for the methods {', '.join(METHODS)}; got --method {method}. Choose from them."
        )
    for name in FOREIGN:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.removesuffix("_kind").replace("_", "-")
            raise UsageError(f"{option} needs the ratings in one process; got it with part files. Remove it.")


def _save(model: FactorModel, out: Path, write: Callable[[Path], None]) -> None:
    """Save as a folder, or by way of one as a file."""
    from coded_als.models.persistence import load_model

    if out.suffix != ".npz":
        write(out)
        return
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".coded-als-") as scratch:
        folder = Path(scratch) / "model"
        write(folder)
        load_model(folder).save(out)
