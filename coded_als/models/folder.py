"""Models as folders of Parquet files: factors and what each user has rated, in parts that need not fit into memory at once."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coded_als.errors import UsageError
from coded_als.models.part_rows import joined, read_rows, sides_of, some_rows, write_part
from coded_als.models.registry import is_known, model_class

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

FORMAT, VERSION, HEADER = "coded-als model folder", 1, "model.json"
SIDES = ("users", "items")
# Rows of a part that a model in memory is cut into.
PART_ROWS = 200_000


@contextmanager
def new_folder(path: str | Path, known: str) -> Iterator[Path]:
    """A folder that takes its name when the block ends, whole or not at all.

    Parameters
    ----------
    path
        Its name to be. What is there already is replaced if it holds a file ``known``, or nothing.
    known
        Name of a file that tells such folders.

    Raises
    ------
    UsageError
        Where something else is there, or nothing can be written.
    """
    target = Path(os.path.realpath(path))
    require_replaceable(target, known)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.mkdir()
        yield unfinished
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
    except OSError as error:
        raise UsageError(
            f"a folder must be written where there is room; got {path}: {error.strerror or error}. Choose another path."
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_replaceable(path: Path, known: str) -> None:
    """`UsageError` unless a folder can be written there.

    Parameters
    ----------
    path
        Where.
    known
        Name of a file that tells folders that may be replaced.
    """
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"a folder must be written into one that is there; got {path}. Make {parent} first.")
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / known).is_file())):
        raise UsageError(
            f"{path} must be a folder of this kind, or not be there; it holds something else. Choose another."
        )


def write_header(folder: Path, model: FactorModel) -> None:
    """Write what is not in parts.

    Parameters
    ----------
    folder
        Where to.
    model
        Whose.
    """
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "kind": model.kind,
        "global_mean": model.global_mean_,
        "shape": [len(model.user_factors_), len(model.item_factors_)],
        "metadata": model._metadata(),
    }
    (folder / HEADER).write_text(json.dumps(contents, default=lambda value: value.item()), encoding="utf-8")


def save_folder(model: FactorModel, path: str | Path) -> None:
    """Write a model in memory as a folder.

    Parameters
    ----------
    model
        Fitted.
    path
        Where to.

    Raises
    ------
    UsageError
        When the folder cannot be written.
    """
    with new_folder(path, HEADER) as folder:
        write_header(folder, model)
        for side, part in zip(SIDES, sides_of(model), strict=True):
            (folder / side).mkdir()
            for number, start in enumerate(range(0, len(part.rows), PART_ROWS)):
                write_part(folder / side / f"{number:05d}.parquet", some_rows(part, start, start + PART_ROWS))


def parts_of(folder: str | Path, side: str) -> list[Path]:
    """The files of one side of a model folder, in the order of their names.

    Parameters
    ----------
    folder
        The model.
    side
        ``"users"`` or ``"items"``.
    """
    return sorted((Path(folder) / side).glob("*.parquet"))


def read_header(path: str | Path) -> dict[str, Any]:
    """What is not in parts; `UsageError` where this is no model folder of this version."""
    try:
        contents = json.loads((Path(path) / HEADER).read_text(encoding="utf-8"))
        if contents["format"] != FORMAT or contents["version"] != VERSION or not is_known(contents["kind"]):
            raise ValueError(f"its {HEADER} is of another format or version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"a model folder must hold its {HEADER}; got {path}: {reason}. Fit and save it again."
        ) from None
    found: dict[str, Any] = contents
    return found


def load_folder(path: str | Path) -> FactorModel:
    """The model in a folder, all of it in memory.

    Raises
    ------
    UsageError
        When the folder is damaged or not that of a model.
    """
    header = read_header(path)
    try:
        users, items = (joined([rows for file in parts_of(path, side) for rows in read_rows(file)]) for side in SIDES)
        arrays = {"global_mean": np.array(float(header["global_mean"]))}
        for noun, part in (("user", users), ("item", items)):
            arrays |= {f"{noun}_factors": part.factors, f"{noun}_ids": part.ids}
            if part.biases is not None:
                arrays[f"{noun}_biases"] = part.biases
        if users.indptr is not None and users.indices is not None:
            arrays |= {"seen_indptr": users.indptr, "seen_indices": users.indices}
        if [len(users.rows), len(items.rows)] != header["shape"]:
            raise ValueError("parts are missing")
        return model_class(header["kind"]).from_arrays(arrays, header["metadata"])
    except UsageError:
        raise
    except Exception as error:  # Arrow has errors of its own for bytes that are not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"a model folder must be complete; got {path}: {reason}. Fit and save it again.") from None
