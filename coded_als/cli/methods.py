"""The methods by name, and models of them from the options that a user gave."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.registry import model_class, model_kinds

# methods with predicted ratings as scores, so that RMSE and MAE mean something
PREDICTS_RATINGS = frozenset({"ridge", "sgd"})


def make_model(method: str, options: Mapping[str, Any]) -> FactorModel:
    """The model of a method; options that are None keep the method's own default."""
    if method not in model_kinds():
        raise UsageError(f"methods must be among {', '.join(model_kinds())}; got {method!r}. Choose from them.")
    model = model_class(method)
    known = inspect.signature(model).parameters
    # a seed stands for reproducibility, which a closed form has anyhow
    given = {key: value for key, value in options.items() if value is not None and (key in known or key != "seed")}
    for key in given:
        if key not in known:
            raise UsageError(f"method {method} has no {key}; got {given[key]!r}. Leave --{key.replace('_', '-')} out.")
    return model(**given)
