"""The base of every fitted model: parameters, saving, and all that `Scoring` and `Recommending` bring.

A model class inherits from `FactorModel`, names its ``kind`` and calls ``_keep`` at the end of ``fit``;
recommending, predicting, parameters, saving and loading come with it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.persistence import save_model
from coded_als.models.rating_matrix import pattern
from coded_als.models.recommending import NewRatings, NewUsers, Ranking, Recommending
from coded_als.models.registry import register

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

    Raises ValueError where numbers are not finite and real, ids are neither whole numbers nor text, or parts do not
    belong together. Raises KeyError where a part is missing.
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


__all__ = ["FactorModel", "NewRatings", "NewUsers", "Ranking"]


class FactorModel(Recommending):
    """Scores are ``global_mean_ + user_biases_[u] + item_biases_[i] + user_factors_[u] @ item_factors_[i]``.

    Attributes
    ----------
    user_factors_, item_factors_
        (m, d) and (n, d).
    user_biases_, item_biases_
        (m,) and (n,), or None.
    global_mean_
        Added to every score.
    user_ids, item_ids
        The original ids in row and column order, arrays of whole numbers or of str; 0, 1, 2, ... unless `set_ids` was
        called.
    seen_
        (m, n) sparse pattern of the ratings trained on, or None where nothing is to be filtered.
    history_
        One entry for each iteration of the fit.
    """

    kind: ClassVar[str]
    # what history_ holds, a dataclass
    _entry: ClassVar[type[Any] | None] = None
    # further results of a fit that are saved, by attribute
    _results: ClassVar[tuple[str, ...]] = ()

    history_: list[Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            register(cls.kind, cls)

    @classmethod
    def require_installed(cls) -> None:
        """Raise `UsageError` where fitting needs a library that is absent; what is fitted can be asked without."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, each read from the attribute of its name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **changes: Any) -> Self:
        """Change some of the constructor's arguments, and return the model; what was fitted stays until the next fit.

        Raises UsageError for an unknown parameter, or where the constructor refuses a value; nothing is changed then.
        """
        known = self.get_params()
        for name in changes:
            if name not in known:
                raise UsageError(
                    f"a parameter of {type(self).__name__} must be one of {', '.join(known)}; got {name!r}. Correct it."
                )
        self.__dict__.update(type(self)(**(known | changes)).__dict__)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if name == "rank" or not _alike(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def save(self, path: str | Path) -> None:
        """Write the model to one file without pickles, whole or not at all; `coded_als.load_model` reads it.

        Raises UsageError when the model is not fitted or the file cannot be written.
        """
        self._require_fitted()
        save_model(path, self.kind, self._arrays(), self._metadata())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> Self:
        """The model that `save` wrote.

        Raises ValueError, TypeError, KeyError for arrays or metadata that are not those of a model.
        """
        model = cls(**metadata["parameters"])
        model._restore(arrays)
        entries = metadata.get("history", [])
        model.history_ = [cls._entry(**_with_tuples(entry)) for entry in entries] if cls._entry else []
        for name, value in metadata.get("results", {}).items():
            if name in cls._results:
                setattr(model, name, tuple(value) if isinstance(value, list) else value)
        return model

    def _metadata(self) -> dict[str, Any]:
        entries = [dataclasses.asdict(entry) for entry in getattr(self, "history_", [])] if self._entry else []
        results = {name: getattr(self, name) for name in self._results if hasattr(self, name)}
        return {"parameters": self.get_params(), "history": entries, "results": results}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What `save` writes. A model with more to keep extends this and `_restore`."""
        arrays: dict[str, NDArray[Any]] = {
            "user_factors": self.user_factors_,
            "item_factors": self.item_factors_,
            "global_mean": np.array(self.global_mean_),
            "user_ids": self.user_ids,
            "item_ids": self.item_ids,
        }
        if self.user_biases_ is not None:
            arrays["user_biases"] = self.user_biases_
        if self.item_biases_ is not None:
            arrays["item_biases"] = self.item_biases_
        if self.seen_ is not None:
            arrays["seen_indptr"], arrays["seen_indices"] = self.seen_.indptr, self.seen_.indices
        return arrays

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        state = checked_state(arrays)
        if getattr(self, "rank", state.rank) != state.rank:
            raise ValueError(f"factors of rank {state.rank} are not of the rank among the parameters")
        self._keep(
            state.user_factors,
            state.item_factors,
            user_biases=state.user_biases,
            item_biases=state.item_biases,
            global_mean=state.global_mean,
            seen=state.seen,
        )
        self.set_ids(arrays["user_ids"], arrays["item_ids"])


def _alike(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _with_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a history as it was before JSON made lists of its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
