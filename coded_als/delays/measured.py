"""Delay models from published measurements: facts and figures, no data of the sources.

`docs/delays.md` has a figure of each. A SPEC names one: ``measured:lambda``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from coded_als.delays.models import AlwaysSlowDown, DelayModel, LogNormal, QuantileLaw
from coded_als.errors import UsageError


@dataclass(frozen=True)
class Measured:
    """A model, its source and its fit.

    Parameters
    ----------
    model
        The model.
    source
        The publication.
    year
        Year of the publication.
    fit
        Which parameters come from which published figures, and which are assumed.
    published
        Published quantiles: seconds by probability.
    """

    model: DelayModel
    source: str
    year: int
    fit: str
    published: Mapping[float, float] = field(default_factory=dict)


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
    """The model of this name.

    Raises
    ------
    UsageError
        For an unknown name.
    """
    if name not in MEASURED:
        raise UsageError(f"measured must be one of {', '.join(MEASURED)}; got {name!r}. Write measured:lambda, say.")
    return MEASURED[name].model
