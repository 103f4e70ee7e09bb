"""The methods by name, and models of them from the options that a user gave."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from coded_als.errors import UsageError
from coded_als.factors import FactorModel

METHODS = {
    "coded": "coded_als.als:CodedALS",
    "ridge": "coded_als.baselines:RidgeALS",
    "implicit": "coded_als.baselines:ImplicitALS",
    "sgd": "coded_als.baselines:SGD",
    "bpr": "coded_als.baselines:BPR",
    "warp": "coded_als.baselines:WARP",
}
# methods whose scores are predicted ratings, so that RMSE and MAE mean something
PREDICTS_RATINGS = frozenset({"ridge", "sgd"})


def make_model(method: str, options: Mapping[str, Any]) -> FactorModel:
    """The model of a method; options that are None keep the method's own default."""
    if method not in METHODS:
        raise UsageError(f"methods must be among {', '.join(METHODS)}; got {method!r}. Choose from them.")
    module, _, name = METHODS[method].partition(":")
    given = {key: value for key, value in options.items() if value is not None}
    model: FactorModel = getattr(import_module(module), name)(**given)
    return model
