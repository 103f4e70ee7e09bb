"""A running fit or sweep to look at: what there is to see, on the terminal and as a page on loopback."""

from coded_als.experiments.live.fit import FitStatus
from coded_als.experiments.live.sweep import SweepStatus
from coded_als.experiments.live.view import Line, LiveStatus, View

__all__ = ["FitStatus", "Line", "LiveStatus", "SweepStatus", "View"]
