"""The SPEC grammar: ``name:key=value,key=value``, joined by ``+`` where delays add up.

Times are written with their unit, ``200us``, ``5ms``, ``1.5s`` or ``2min``: ``exp:mean=20ms+dead:n=3``. Models of published
measurements have names, ``measured:lambda``: facts and figures, no data of the sources; docs/delays.md draws each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

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
    QuantileLaw,
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


@dataclass(frozen=True)
class Measured:
    """A model, its source and its fit."""

    model: DelayModel
    source: str  # the publication
    year: int  # of the publication
    fit: str  # which parameters come from which published figures, and which are assumed
    published: Mapping[float, float] = field(default_factory=dict)  # quantiles: seconds by probability


LAMBDA_S = {0.0: 0.542, 0.5: 0.644, 0.9: 0.889, 0.95: 1.114, 0.99: 1.45, 0.999: 1.79}
_SEQUENTIAL = "Krishnan, Ebrahimi, Khisti, Sequential gradient coding for straggler mitigation, ICLR 2023"
# a third of a second more for each factor of ten beyond 99.9 %, as before it, up to one call in a million
_LAMBDA = QuantileLaw((*LAMBDA_S, 1 - 1e-6), (*LAMBDA_S.values(), 2.81), enter=0.066, leave=0.82)
# 15 and 33 medians of 0.644 s, and the quantiles of a uniform law between them
_OUTLIERS = 1 - 0.0014
_WITH_OUTLIERS = replace(
    _LAMBDA,
    probabilities=(*_LAMBDA.probabilities[:-2], _OUTLIERS, _OUTLIERS, 1 - 7e-4, 1 - 1.4e-4, 1 - 1.4e-6),
    seconds=(*_LAMBDA.seconds[:-2], 1.74, 9.66, 15.46, 20.1, 21.24),
)

MEASURED: Mapping[str, Measured] = MappingProxyType(
    {
        "lambda": Measured(
            _LAMBDA,
            _SEQUENTIAL,
            2023,
            "quantiles of whole calls, 256 cloud functions in 30 rounds; a function is slow with chance .18 after a slow "
            "round and .066 after another, so 7.4 % are slow in the long run; beyond 99.9 % the tail is continued",
            MappingProxyType(LAMBDA_S),
        ),
        "lambda-outliers": Measured(
            _WITH_OUTLIERS,
            _SEQUENTIAL,
            2023,
            "another run of the source: 1.4 per mille of the calls took 15 to 33 medians; the other calls, the even spread "
            "of the long ones and the bursts are assumed, as in measured:lambda",
            MappingProxyType({0.5: 0.644, _OUTLIERS + 1e-6: 9.66, 1 - 1.4e-6: 21.25}),
        ),
        "tail-at-scale": Measured(
            LogNormal(1e-3, 0.98),
            "Dean, Barroso, The tail at scale, CACM 56(2)",
            2013,
            "a log-normal law through the response times of a leaf server: 1, 5 and 10 ms at 50, 95 and 99 %",
            MappingProxyType({0.5: 1e-3, 0.95: 5e-3, 0.99: 10e-3}),
        ),
        "slow-machine": Measured(
            AlwaysSlowDown(1, 3.0),
            "Lin et al., Understanding stragglers in large model training using what-if analysis, arXiv 2505.05713",
            2025,
            "one worker computes three times slower for good: one kind of the 42.5 % of 3,079 jobs that stragglers made "
            "more than 10 % slower; the source's spread of jobs is not modelled",
        ),
    }
)


def measured_model(name: str) -> DelayModel:
    """The model of this name; `UsageError` for an unknown one."""
    if name not in MEASURED:
        raise UsageError(f"measured must be one of {', '.join(MEASURED)}; got {name!r}. Write measured:lambda, say.")
    return MEASURED[name].model


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
    """Make a dataclass with a method `DelayModel.draw` known by this name wherever a SPEC is taken.

    A field that is annotated with ``int`` takes a whole number; any other takes a time with its unit, which arrives in
    seconds, or a number. The class checks the range.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from coded_als.delays import parse_delays, register_delays
    >>> @register_delays("steady")
    ... @dataclass(frozen=True)
    ... class Steady:
    ...     "Every worker is late by the same time."
    ...     by: float
    ...     def draw(self, uniforms, round_index, operations, state):
    ...         return np.full(uniforms(0).shape, self.by), None
    >>> parse_delays("steady:by=20ms")
    Steady(by=0.02)
    """

    def register(model: DelayClass) -> DelayClass:
        MODELS[name] = model
        return model

    return register


def parse_delays(spec: str) -> DelayModel:
    """Return the model that a SPEC names.

    Raises
    ------
    UsageError
        For an unknown model, an unknown, missing or unreadable parameter, or an unreadable trace.

    Examples
    --------
    >>> from coded_als.delays import parse_delays
    >>> parse_delays("bimodal:p=0.2,fast=5ms,slow=1s")
    Bimodal(p=0.2, fast=0.005, slow=1.0)
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
        raise UsageError(f"{key} must be {quantity.written}; got {text!r} in {spec!r}.") from None
