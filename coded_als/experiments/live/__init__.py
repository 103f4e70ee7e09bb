"""A running fit or sweep to look at: its status, views of it, on the terminal, as a page and as figures for monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

_HOMES = {
    "coded_als.experiments.live.server": "served",
    "coded_als.experiments.live.status": "FitStatus watched",
}
__all__ = public_names(_HOMES)
__getattr__ = lazily(__name__, _HOMES)

if TYPE_CHECKING:
    from coded_als.experiments.live.server import served as served
    from coded_als.experiments.live.status import FitStatus as FitStatus
    from coded_als.experiments.live.status import watched as watched
