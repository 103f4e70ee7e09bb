"""Environment of processes that are to find eight virtual devices on the CPU."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest

# most of the time goes into compiling, and most of that into making the code fast
_FLAGS = ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0"]
# half of the rest goes into fused loops; a flag that XLA does not know ends the process, and later ones do not know this
_UNTIL_JAX_0_10 = "--xla_cpu_use_fusion_emitters=false"


def virtual_devices(config: pytest.Config) -> dict[str, str]:
    """This process's environment, with eight devices, and with programs kept from one run of the tests to the next."""
    major, minor = map(int, version("jax").split(".")[:2])
    flags = [*_FLAGS, _UNTIL_JAX_0_10] if (major, minor) <= (0, 10) else _FLAGS
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}
    if config.pluginmanager.hasplugin("cacheprovider"):
        environment["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("jax"))
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    return environment
