"""The kinds of models by name; a class that names its ``kind`` registers itself when it is defined."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from coded_als.errors import UsageError
from coded_als.lazy import offered

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

_classes: dict[str, type[FactorModel]] = {}


def model_kinds() -> list[str]:
    """The kinds of models of this package: their modules are imported when one is asked for."""
    return list(offered("models"))


def register(kind: str, model: type[FactorModel]) -> None:
    """Make a model class known under the name that its files carry."""
    home = offered("models").get(kind)
    if home is not None and not model.__module__.startswith(home):
        raise UsageError(f"kind must be a name that no model of coded-als has; got {kind!r}. Choose another name.")
    _classes[kind] = model


def is_known(kind: str) -> bool:
    """Whether a model class of this name is registered, or would be once its module is imported."""
    return kind in _classes or kind in offered("models")


def model_class(kind: str) -> type[FactorModel]:
    """The class of a kind of model, imported now; `KeyError` for a name that `is_known` does not know."""
    if kind not in _classes:
        import_module(offered("models")[kind])
    return _classes[kind]
