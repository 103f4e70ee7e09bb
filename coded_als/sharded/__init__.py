"""Matrix factorization on accelerators: factor tables sharded over the devices of JAX (extra ``jax``)."""

from __future__ import annotations

from coded_als.sharded.sharded_als import ShardedALS

__all__ = ["ShardedALS"]
