"""Models in one file: a .npz of plain arrays and one JSON text, never a pickle, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.files import write_whole
from coded_als.models.ids import text_array
from coded_als.models.registry import is_known, model_class, model_kinds

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

FORMAT = "coded-als model"
VERSION = 1
# Of the names of members: arrays as they are, and texts as UTF-8 with zeros between them.
ARRAY, TEXT = "array/", "text/"


@dataclass(frozen=True)
class ModelFile:
    """The contents of a model file."""

    kind: str  # a name in `coded_als.models.registry`
    arrays: Mapping[str, NDArray[Any]]  # by name
    metadata: Mapping[str, Any]  # values that JSON can express; ``parameters`` are the constructor's


def save_model(path: str | Path, kind: str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write a model; a file of that name is replaced only once the new one is complete."""
    stored = dict(_member(name, array) for name, array in arrays.items())
    try:
        contents = {"format": FORMAT, "version": VERSION, "kind": kind, "metadata": dict(metadata)}
        header = json.dumps(contents, default=_plain_scalar)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a model's parameters must fit into JSON; got {error}. Use plain numbers, text and lists."
        ) from None
    members: dict[str, Any] = {"header": np.array(header)} | stored
    try:
        write_whole(Path(path), lambda file: np.savez(file, **members))
    except OSError as error:
        raise UsageError(
            f"a model must be saved where a file can be written; got {path}: {error.strerror or error}. Choose another path."
        ) from None


def _member(name: str, array: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """An array as a member of the file: text of very different lengths, which is objects in memory, as its bytes."""
    if not array.dtype.hasobject:
        return ARRAY + name, array
    if not array.size or not all(isinstance(one, str) and "\0" not in one for one in array.flat):
        raise UsageError(f"arrays must hold numbers or text; {name!r} holds objects. Convert it first.")
    return TEXT + name, np.frombuffer("\0".join(array.flat).encode(), dtype=np.uint8)


def _array(member: str, stored: NDArray[Any]) -> NDArray[Any]:
    """The array that `_member` made a member of."""
    return text_array(stored.tobytes().decode().split("\0")) if member.startswith(TEXT) else stored


def _plain_scalar(value: Any) -> Any:
    """A NumPy scalar, which a parameter may be, as the number that it is."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"an object of {type(value).__name__}")


def load_model(path: str | Path) -> FactorModel:
    """Return the model that `save_model` wrote, or that lies in a folder of Parquet files (`coded_als.models.folder`).

    Raises
    ------
    UsageError
        When the file is missing, damaged, not a model of this package, or of a later version.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from coded_als import CodedALS, load_model
    >>> model = CodedALS(rank=2).fit(np.random.default_rng(0).standard_normal((20, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     load_model(f"{folder}/model.npz").predict(3, 5) == model.predict(3, 5)
    True
    """
    if os.path.isdir(path):
        # Parquet is loaded for a folder alone
        from coded_als.models.folder import load_folder

        return load_folder(path)
    file = read_model_file(path)
    if not is_known(file.kind):
        raise UsageError(
            f"a model must be one of {', '.join(model_kinds())}; {path} holds {file.kind!r}. Upgrade coded-als to read it."
        )
    try:
        return model_class(file.kind).from_arrays(file.arrays, file.metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_model_file(path: str | Path) -> ModelFile:
    """The parts of a model file, without loading the class that interprets them."""
    try:
        with open(path, "rb") as file:
            header, arrays = _read(file)
    except OSError as error:
        raise UsageError(
            f"a model must be a readable file; got {path}: {error.strerror or error}. Check the path."
        ) from None
    except Exception as error:  # zip, zlib, json and NumPy each have errors of their own for bytes that are not theirs
        raise _unreadable(path, error) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(f"a model must have been saved by coded-als; {path} was not. Pass a file that fit wrote.")
    if header.get("version") != VERSION:
        raise UsageError(
            f"a model must be of format version {VERSION}; {path} has {header.get('version')!r}. "
            "Upgrade coded-als, or fit and save the model again."
        )
    kind, metadata = header.get("kind"), header.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, dict):
        raise _unreadable(path, ValueError("its header lacks kind or metadata"))
    return ModelFile(kind, arrays, metadata)


def _read(file: IO[bytes]) -> tuple[Any, dict[str, NDArray[Any]]]:
    if file.read(4) != b"PK\x03\x04":
        raise ValueError("it is not a .npz file")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        if "header" not in archive.files:
            return None, {}
        header = json.loads(str(archive["header"]))
        names = [name for name in archive.files if name.startswith((ARRAY, TEXT))]
        arrays = {name.partition("/")[2]: _array(name, archive[name]) for name in names}
    return header, arrays


def _unreadable(path: str | Path, error: Exception) -> UsageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UsageError(f"a model must be a complete file that `fit --out` or `save` wrote; got {path}: {reason}.")
