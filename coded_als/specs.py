"""The grammar that SPECs share: ``name:key=value,key=value``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from coded_als.errors import UsageError

PLUGINS = "CODED_ALS_PLUGINS"


def read_fields(what: str, spec: str, model: type, read: Callable[[str, str], Any]) -> dict[str, Any]:
    """The values that a SPEC gives to the fields of a dataclass."""
    name, _, text = spec.partition(":")
    fields = {field.name: field for field in dataclasses.fields(model)}
    values: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, _, value = (piece.strip() for piece in item.partition("="))
        if key not in fields:
            raise UsageError(
                f"{what} {name!r} takes {', '.join(fields) or 'no parameters'}; got {key!r} in {spec!r}. Remove it."
            )
        if key in values:
            raise UsageError(f"{what} {name!r} takes each key once; got {key!r} twice in {spec!r}. Remove one.")
        values[key] = read(key, value)
    missing = [key for key, field in fields.items() if required(field) and key not in values]
    if missing:
        whole = ",".join([*filter(None, [text]), *(f"{key}=..." for key in missing)])
        raise UsageError(f"{what} {name!r} needs {', '.join(missing)}; got {spec!r}. Write {name}:{whole}")
    return values


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that no SPEC has, with the nearest one that there is."""
    names = list(known)
    near = get_close_matches(name, names, 1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return UsageError(f"{what} must be one of {', '.join(names)}; got {name!r}. {meant}See coded-als help specs.")


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default, so that a SPEC must give it."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def load_plugins() -> None:
    """Import the modules that the environment names, so that classes of your own are registered in every process."""
    for name in filter(None, os.environ.get(PLUGINS, "").split(",")):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{PLUGINS} must name modules that Python finds; got {name!r}: {error}. Correct it or PYTHONPATH."
            ) from None
