"""Straggler models: how many seconds each worker adds to a round.

One model has two uses: its draws are injected into real workers and charged by the virtual clock.
A draw is a pure function of (seed, worker, round), so the same seed gives the same delays on every
cluster, whatever the number of workers and the order of execution.
"""

from coded_als.delays.models import (
    DelayModel,
    NoDelay,
    Trace,
    bootstrapped,
    depends_on_operations,
    is_stationary,
    traces_of,
)
from coded_als.delays.spec import MODELS, parse_delays, register_delays, trace_files
from coded_als.delays.streams import DelayStream, arrival_order, hashed_uniforms, require_workers
from coded_als.delays.traces import read_trace

__all__ = [
    "MODELS",
    "DelayModel",
    "DelayStream",
    "NoDelay",
    "Trace",
    "arrival_order",
    "bootstrapped",
    "depends_on_operations",
    "hashed_uniforms",
    "is_stationary",
    "parse_delays",
    "read_trace",
    "register_delays",
    "require_workers",
    "trace_files",
    "traces_of",
]
