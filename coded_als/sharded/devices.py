"""Devices that tables are sharded over."""

from __future__ import annotations

from coded_als.checks import require_whole
from coded_als.errors import UsageError

try:
    import jax
except ImportError as error:
    raise UsageError(f"sharded models need jax; got {error}. Install it with: pip install 'coded-als[jax]'") from None

import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# the one axis that tables and batches are sharded along
AXIS = "shard"


def mesh_of(devices: int | None) -> Mesh:
    """The first so many devices that JAX finds, or all of them."""
    found = jax.devices()
    if devices is None:
        devices = len(found)
    require_whole("devices", devices, 1)
    if devices > len(found):
        raise UsageError(
            f"devices must be at most the {len(found)} that JAX finds ({found[0].device_kind}); got {devices}. "
            f"Lower it, or set XLA_FLAGS=--xla_force_host_platform_device_count={devices} for virtual ones on the CPU."
        )
    return Mesh(np.array(found[:devices]), (AXIS,))


def mesh_up_to(devices: int | None) -> Mesh:
    """`mesh_of` as many devices as there are, where that is less: a model may be asked on another machine."""
    return mesh_of(None if devices is None else min(devices, len(jax.devices())))


def sharded(mesh: Mesh) -> NamedSharding:
    """Arrays that are cut along their first axis, one part on each device."""
    return NamedSharding(mesh, PartitionSpec(AXIS))
