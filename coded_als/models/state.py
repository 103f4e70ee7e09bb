"""The arrays of a fitted model as they come from a file, and what is demanded of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.models.seen import pattern

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class State:
    """What every fitted model keeps, but for its ids; as the attributes of `FactorModel` of these names."""

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any] | None
    item_biases: NDArray[Any] | None
    global_mean: float
    seen: csr_array | None

    @property
    def rank(self) -> int:
        """Columns of both factors."""
        return int(self.user_factors.shape[1])


def checked_state(arrays: Arrays) -> State:
    """The state that arrays by name are.

    Raises
    ------
    ValueError
        Where numbers are not finite and real, ids are neither whole numbers nor text, or parts do not belong together.
    KeyError
        Where a part is missing.
    """
    for name in ("user_ids", "item_ids"):
        if arrays[name].dtype.kind not in "iuUO":
            raise ValueError(f"{name} of {arrays[name].dtype} are no ids")
    users, items = _numbers(arrays, "user_factors"), _numbers(arrays, "item_factors")
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"factors of shapes {users.shape} and {items.shape} do not belong together")
    biases = [
        _one_each(_numbers(arrays, name), owner) if name in arrays else None
        for name, owner in (("user_biases", users), ("item_biases", items))
    ]
    mean = float(_numbers(arrays, "global_mean"))
    return State(users, items, biases[0], biases[1], mean, _seen(arrays, (len(users), len(items))))


def _numbers(arrays: Arrays, name: str) -> NDArray[Any]:
    if arrays[name].dtype.kind != "f" or not np.isfinite(arrays[name]).all():
        raise ValueError(f"{name} are not finite real numbers")
    return arrays[name]


def _one_each(biases: NDArray[Any], owner: NDArray[Any]) -> NDArray[Any]:
    if biases.shape != owner.shape[:1]:
        raise ValueError(f"biases of shape {biases.shape} do not belong to factors of shape {owner.shape}")
    return biases


def _seen(arrays: Arrays, shape: tuple[int, int]) -> csr_array | None:
    if "seen_indptr" not in arrays:
        return None
    indptr, indices = arrays["seen_indptr"], arrays["seen_indices"]
    if indptr.dtype.kind != "i" or indices.dtype.kind != "i":
        raise ValueError("the ratings seen are not whole numbers")
    return pattern(shape, indptr, indices)
