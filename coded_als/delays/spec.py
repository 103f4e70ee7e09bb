"""The SPEC grammar: ``name:key=value,key=value``, joined by ``+`` where delays add up.

Times are written with their unit, ``200us``, ``5ms``, ``1.5s`` or ``2min``: ``exp:mean=20ms+dead:n=3``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from coded_als.delays.models import (
    Bimodal,
    Dead,
    DelayModel,
    Markov,
    NoDelay,
    NormalPerOperation,
    Pareto,
    ShiftedExponential,
    Slow,
    Sum,
    Uniform,
)
from coded_als.delays.traces import read_recording
from coded_als.errors import UsageError
from coded_als.specs import load_plugins, read_fields

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_PLAIN = {"": 1.0}
MODELS: dict[str, type[DelayModel]] = {
    "none": NoDelay,
    "exp": ShiftedExponential,
    "shifted-exp": ShiftedExponential,
    "uniform": Uniform,
    "pareto": Pareto,
    "normal-ops": NormalPerOperation,
    "bimodal": Bimodal,
    "markov": Markov,
    "slow": Slow,
    "dead": Dead,
}
DelayClass = TypeVar("DelayClass", bound=type[DelayModel])
_PROBABILITIES = {"p", "enter", "leave"}
_UNITLESS = {*_PROBABILITIES, "alpha", "n"}
_TIMES = {"mean", "shift", "low", "high", "scale", "fast", "slow", "delay", "mu", "sigma"}
_POSITIVE = {"alpha", "scale"}


def register_delays(name: str) -> Callable[[DelayClass], DelayClass]:
    """Class decorator: makes a dataclass with a method `DelayModel.draw` known by this name wherever a SPEC is taken.

    A value with a unit is a time in seconds, one without is a number; the class checks what it is given.
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
    if name == "trace":
        return read_recording(Path(text))
    if name not in MODELS:
        load_plugins()
    if name not in MODELS:
        raise UsageError(
            f"delays must be one of {', '.join(MODELS)} or trace:FILE; got {name!r}. See --help for the parameters."
        )
    model = MODELS[name]
    values = read_fields("delays", spec, model, lambda key, value: _parse_value(key, value, spec))
    if {"enter", "leave"} <= values.keys() and values["enter"] + values["leave"] == 0:
        raise UsageError(f"enter and leave must not both be 0; got {spec!r}. Give one of them a probability.")
    if "low" in values and values["low"] > values["high"]:
        raise UsageError(f"low must not be above high; got {spec!r}. Swap them.")
    return model(**values)


def _parse_value(key: str, text: str, spec: str) -> float | int:
    """One parameter: a time needs its unit, a number takes none; what a plugin's model calls its own may be either."""
    units = (_UNITS_S if key not in _UNITLESS else {}) | (_PLAIN if key not in _TIMES else {})
    match = re.fullmatch(rf"([0-9.]+(?:e[+-]?[0-9]+)?)({'|'.join(units)})", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        value = float(match[1]) * units[match[2]]
        if not math.isfinite(value) or (key in _PROBABILITIES and value > 1) or (key in _POSITIVE and value <= 0):
            raise ValueError(text)
        return int(match[1]) if key == "n" else value
    except ValueError:
        raise UsageError(f"{key} must be {_rule(key)}; got {text!r} in {spec!r}. Correct the delay SPEC.") from None


def _rule(key: str) -> str:
    if key in _PROBABILITIES:
        return "a probability in [0, 1]"
    if key == "n":
        return "a whole number"
    if key in _TIMES:
        return "a time with its unit, like 20ms or 1s"
    return "a number like 1.5" + (", without a unit" if key in _UNITLESS else ", or a time like 20ms")
