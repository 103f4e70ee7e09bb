"""Vectors of a model for other programs: as arrays, and in files of NumPy, Parquet or faiss."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats
from coded_als.checks import require_one_of
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.files import write_whole
from coded_als.models.ids import Ids
from coded_als.models.recommending import unit_rows

SideOfModel = Literal["items", "users"]
Measure = Literal["inner", "cosine"]
# Suffixes of files, and the library and the extra that each needs.
NEEDS = {".npz": None, ".parquet": ("pyarrow", "parquet"), ".faiss": ("faiss", "faiss")}


def vectors_of(model: FactorModel, side: SideOfModel = "items", metric: Measure = "inner") -> tuple[Ids, Floats]:
    """Return vectors whose products order items as the model does, for an index of nearest neighbours.

    With ``"inner"`` the inner product of a user and an item is the score without the mean and the bias of the user, which
    are the same for all items: a bias of the item is one more column, and the users have a 1 there. With ``"cosine"`` it
    is the cosine of `similar_items` or `similar_users`.

    Parameters
    ----------
    model
        A fitted model.
    side
        ``"items"`` or ``"users"``.
    metric
        ``"inner"`` or ``"cosine"``.

    Returns
    -------
    tuple
        Ids, (k,), and vectors in the model's type, (k, d), or (k, d + 1) where items have biases.

    Raises
    ------
    UsageError
        When the model is not fitted or has no vectors, as EASE.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, vectors_of
    >>> model = CodedALS(rank=2, center="columns").fit(np.random.default_rng(0).standard_normal((20, 8)))
    >>> (users, of_users), (items, of_items) = vectors_of(model, "users"), vectors_of(model, "items")
    >>> best = items[np.argsort(-(of_items @ of_users[3]))[:2]]
    >>> bool((best == model.recommend(3, n=2, filter_seen=False).ids).all())
    True
    """
    model._require_fitted()
    require_one_of("side", side, ("items", "users"))
    require_one_of("metric", metric, ("inner", "cosine"))
    if model.kind == "ease":
        raise UsageError("EASE has no vectors of users and items; got an export of them. Use another method.")
    of_items = side == "items"
    ids, factors = (model.item_ids, model.item_factors_) if of_items else (model.user_ids, model.user_factors_)
    if metric == "cosine":
        return ids, unit_rows(factors)
    if model.item_biases_ is None:
        return ids, factors
    last = model.item_biases_ if of_items else np.ones(len(factors))
    return ids, np.column_stack([factors, last.astype(factors.dtype)])


def export_vectors(
    model: FactorModel, path: str | Path, side: SideOfModel = "items", metric: Measure = "inner"
) -> None:
    """Write the vectors of `vectors_of` into a file, whole or not at all.

    The suffix of the path chooses the kind: ``.npz`` holds the arrays ``ids`` and ``vectors``; ``.parquet`` the columns
    ``id`` and ``vector``, a list of numbers; ``.faiss`` an exact index of inner products in float32, whose answers are places
    in ``model.item_ids`` or ``model.user_ids``.

    Parameters
    ----------
    model
        A fitted model.
    path
        File to write; an existing one is replaced.
    side
        ``"items"`` or ``"users"``.
    metric
        ``"inner"`` for the order of `recommend`, ``"cosine"`` for that of `similar_items`.

    Raises
    ------
    UsageError
        For another suffix, without its library, as `vectors_of`, and when the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from coded_als import CodedALS, export_vectors
    >>> model = CodedALS(rank=2).fit(np.random.default_rng(0).standard_normal((20, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_vectors(model, f"{folder}/items.npz")
    ...     np.load(f"{folder}/items.npz")["vectors"].shape
    (8, 2)
    """
    suffix = Path(path).suffix.lower()
    if suffix not in NEEDS:
        raise UsageError(
            f"vectors are written to a path that ends in {', '.join(NEEDS)}; got {path}. Choose one of them."
        )
    needed = NEEDS[suffix]
    if needed is not None and find_spec(needed[0]) is None:
        raise UsageError(
            f"{suffix} needs {needed[0]}, which is not installed; got {path}. Run pip install 'coded-als[{needed[1]}]'."
        )
    ids, vectors = vectors_of(model, side, metric)
    write = {".npz": _write_npz, ".parquet": _write_parquet, ".faiss": _write_faiss}[suffix]
    try:
        write_whole(Path(path), lambda file: write(file, ids, vectors))
    except OSError as error:
        raise UsageError(
            f"vectors must go where a file can be written; got {path}: {error.strerror or error}. Choose another path."
        ) from None


def _write_npz(file: IO[bytes], ids: Ids, vectors: Floats) -> None:
    np.savez(file, ids=ids.astype(np.str_) if ids.dtype.hasobject else ids, vectors=vectors)


def _write_parquet(file: IO[bytes], ids: Ids, vectors: Floats) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    flat = pa.array(np.ascontiguousarray(vectors).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    parquet.write_table(pa.table({"id": pa.array(ids), "vector": lists}), file)


def _write_faiss(file: IO[bytes], ids: Ids, vectors: NDArray[Any]) -> None:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    file.write(faiss.serialize_index(index).tobytes())
