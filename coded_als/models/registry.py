"""The kinds of models by name; a class that names its ``kind`` registers itself when it is defined."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

# Modules of the kinds of this package: imported when one is asked for, so that reading one needs not all of them.
MODEL_HOMES = {
    "coded": "coded_als.als.estimator",
    "ridge": "coded_als.baselines.alternating",
    "implicit": "coded_als.baselines.alternating",
    "sgd": "coded_als.baselines.stochastic",
    "bpr": "coded_als.baselines.ranking",
    "warp": "coded_als.baselines.ranking",
    "sharded": "coded_als.sharded.sharded_als",
}
_classes: dict[str, type[FactorModel]] = {}


def register(kind: str, model: type[FactorModel]) -> None:
    """Make a model class known under the name that its files carry.

    Raises UsageError when the name is that of a model of this package and the class is not.
    """
    home = MODEL_HOMES.get(kind)
    if home is not None and not model.__module__.startswith(home):
        raise UsageError(f"kind must be a name that no model of coded-als has; got {kind!r}. Choose another name.")
    _classes[kind] = model


def is_known(kind: str) -> bool:
    """Whether a model class of this name is registered, or would be once its module is imported."""
    return kind in _classes or kind in MODEL_HOMES


def model_class(kind: str) -> type[FactorModel]:
    """The class of a kind of model, imported now.

    Raises KeyError for a name that `is_known` does not know.
    """
    if kind not in _classes:
        import_module(MODEL_HOMES[kind])
    return _classes[kind]
