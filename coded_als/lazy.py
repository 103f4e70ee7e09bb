"""Names that are loaded on first use: those of a package, and those that a room below asks for and rooms above hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def public_names(homes: Mapping[str, str]) -> list[str]:
    """The ``__all__`` of a package, from the names that each module has, with blanks between them."""
    return sorted(name for names in homes.values() for name in names.split())


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package with names in modules that it does not import; ``homes`` as in `public_names`."""
    modules = {name: module for module, names in homes.items() for name in names.split()}

    def attribute(name: str) -> Any:
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute


_OFFERS: dict[str, dict[str, str]] = {}


def offer(kind: str, homes: Mapping[str, str]) -> None:
    """Tell the rooms below in which module each thing of a kind is defined: they name no module above them."""
    _OFFERS.setdefault(kind, {}).update(homes)


def offered(kind: str) -> Mapping[str, str]:
    """The modules of the things of a kind by name, none of them imported."""
    return _OFFERS.get(kind, {})
