"""The SPEC grammar: ``name:key=value,key=value``, joined by ``+`` where delays add up.

Times are written with their unit, ``200us``, ``5ms``, ``1.5s`` or ``2min``: ``exp:mean=20ms+dead:n=3``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from coded_als.delays.measured import measured_model
from coded_als.delays.models import (
    AlwaysSlowDown,
    Bimodal,
    Dead,
    DelayModel,
    Inconsistent,
    LogNormal,
    LogNormalSlowDown,
    Markov,
    MarkovSlowDown,
    NoDelay,
    NormalPerOperation,
    Pareto,
    Quantity,
    ShiftedExponential,
    Slow,
    SlowDown,
    Sum,
    Uniform,
    quantities,
)
from coded_als.delays.traces import read_recording
from coded_als.errors import UsageError
from coded_als.specs import load_plugins, read_fields, unknown

MODELS: dict[str, type[DelayModel]] = {
    "none": NoDelay,
    "exp": ShiftedExponential,
    "shifted-exp": ShiftedExponential,
    "uniform": Uniform,
    "pareto": Pareto,
    "lognormal": LogNormal,
    "normal-ops": NormalPerOperation,
    "bimodal": Bimodal,
    "markov": Markov,
    "slow": Slow,
    "dead": Dead,
    "slowdown": SlowDown,
    "slowdown-always": AlwaysSlowDown,
    "slowdown-lognormal": LogNormalSlowDown,
    "slowdown-markov": MarkovSlowDown,
}
DelayClass = TypeVar("DelayClass", bound=type[DelayModel])


def register_delays(name: str) -> Callable[[DelayClass], DelayClass]:
    """Class decorator: makes a dataclass with a method `DelayModel.draw` known by this name wherever a SPEC is taken.

    A field that is annotated with ``int`` takes a whole number; any other takes a time with its unit, which arrives in
    seconds, or a number. The class checks the range.
    """

    def register(model: DelayClass) -> DelayClass:
        MODELS[name] = model
        return model

    return register


def parse_delays(spec: str) -> DelayModel:
    """The model that a SPEC names.

    Raises
    ------
    UsageError
        For an unknown model, an unknown, missing or unreadable parameter, or an unreadable trace.
    """
    parts = [_parse_one(part.strip()) for part in spec.split("+")]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def trace_files(spec: str) -> list[str]:
    """The files that a SPEC replays."""
    parts = (part.strip() for part in spec.split("+"))
    return [part.removeprefix("trace:") for part in parts if part.startswith("trace:")]


def _parse_one(spec: str) -> DelayModel:
    name, _, text = spec.partition(":")
    if name == "measured":
        return measured_model(text)
    if name == "trace":
        return read_recording(Path(text))
    if name not in MODELS:
        load_plugins()
    if name not in MODELS:
        raise unknown("delays", name, [*MODELS, "measured", "trace"])
    model = MODELS[name]
    kinds = quantities(model)
    values = read_fields("delays", spec, model, lambda key, value: _parse_value(key, value, kinds[key], spec))
    try:
        return model(**values)
    except Inconsistent as error:
        raise Inconsistent(error.rule, spec, error.remedy) from None


def _parse_value(key: str, text: str, quantity: Quantity, spec: str) -> float | int:
    """One parameter: a number with one of the units of its kind, and in its range."""
    match = re.fullmatch(rf"([0-9.]+(?:e[+-]?[0-9]+)?)({'|'.join(quantity.units)})", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        number = float(match[1]) * quantity.units[match[2]]
        value = int(match[1]) if quantity.whole else number
        if not math.isfinite(number) or not quantity.accepts(value):
            raise ValueError(text)
        return value
    except ValueError:
        raise UsageError(
            f"{key} must be {quantity.written}; got {text!r} in {spec!r}. Correct the delay SPEC."
        ) from None
