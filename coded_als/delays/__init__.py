"""Straggler models: how many seconds each worker adds to a round, and how many times as long its work takes.

One model has two uses: its draws are injected into real workers and charged by the virtual clock.
A draw is a pure function of (seed, worker, round). The same seed therefore gives the same delays on every
cluster, for any number of workers and any order of execution.
"""

from coded_als.delays.models import (
    DelayModel,
    NoDelay,
    Trace,
    bootstrapped,
    depends_on_operations,
    factors_of,
    is_stationary,
    slows,
    traces_of,
)
from coded_als.delays.spec import MEASURED, MODELS, Measured, parse_delays, register_delays, trace_files
from coded_als.delays.streams import DelayStream, Disturbance, arrival_order, hashed_uniforms, require_workers
from coded_als.delays.traces import read_trace

__all__ = [
    "MEASURED",
    "MODELS",
    "DelayModel",
    "DelayStream",
    "Disturbance",
    "Measured",
    "NoDelay",
    "Trace",
    "arrival_order",
    "bootstrapped",
    "depends_on_operations",
    "factors_of",
    "hashed_uniforms",
    "is_stationary",
    "parse_delays",
    "read_trace",
    "register_delays",
    "require_workers",
    "slows",
    "trace_files",
    "traces_of",
]
