"""The methods by name, and models of them from the options that a user gave."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.registry import model_class, model_kinds

# methods with predicted ratings as scores, so that RMSE and MAE mean something
PREDICTS_RATINGS = frozenset({"ridge", "sgd"})


def make_model(method: str, options: Mapping[str, Any]) -> FactorModel:
    """The model of a method; options that are None keep the method's own default."""
    if method not in model_kinds():
        near = get_close_matches(method, model_kinds(), 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"methods must be among {', '.join(model_kinds())}; got {method!r}.{meant}")
    model = model_class(method)
    known = inspect.signature(model).parameters
    # a seed stands for reproducibility, which a closed form has anyhow
    given = {key: value for key, value in options.items() if value is not None and (key in known or key != "seed")}
    for key in given:
        if key not in known:
            raise UsageError(f"method {method} has no {key}; got {given[key]!r}. Leave --{key.replace('_', '-')} out.")
    return model(**given)


def listed_methods(text: str) -> list[str]:
    """The names in ``--methods``, separated by commas; `UsageError` where there is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--methods must name at least one of {', '.join(model_kinds())}; got none. Add one.")
    return names


def given_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parameters by name from ``NAME=VALUE`` each; a value is a number, true, false, or text."""
    found: dict[str, Any] = {}
    for one in settings:
        name, equals, text = one.partition("=")
        if not name or not equals or name in found:
            raise UsageError(f"--set must be NAME=VALUE, each name once; got {one!r}. Write --set alpha=40.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
