"""The environment of a measurement: machine, system and versions."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info

import coded_als


def environment() -> dict[str, Any]:
    """Versions, machine, cores and BLAS threads that this process may use, its command, and the time."""
    return {
        "coded_als": coded_als.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)),
        "blas_threads": sorted(
            {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
        ),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
