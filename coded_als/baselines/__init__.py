"""The baselines a careful reader asks for: factor models of the observed entries of a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily

# Loaded on first use: one model needs neither the others nor clusters.
_HOMES = {
    "BPR": "coded_als.baselines.ranking",
    "FirstCopy": "coded_als.baselines.distributed",
    "ImplicitALS": "coded_als.baselines.alternating",
    "Iteration": "coded_als.models.training",
    "NewUsers": "coded_als.models.recommending",
    "Partial": "coded_als.baselines.distributed",
    "RidgeALS": "coded_als.baselines.alternating",
    "SGD": "coded_als.baselines.stochastic",
    "WARP": "coded_als.baselines.ranking",
    "WaitForAll": "coded_als.baselines.distributed",
    "fit_on_cluster": "coded_als.baselines.distributed",
}
__all__ = [
    "BPR",
    "SGD",
    "WARP",
    "FirstCopy",
    "ImplicitALS",
    "Iteration",
    "NewUsers",
    "Partial",
    "RidgeALS",
    "WaitForAll",
    "fit_on_cluster",
]

if TYPE_CHECKING:
    from coded_als.baselines.alternating import ImplicitALS, RidgeALS
    from coded_als.baselines.distributed import FirstCopy, Partial, WaitForAll, fit_on_cluster
    from coded_als.baselines.ranking import BPR, WARP
    from coded_als.baselines.stochastic import SGD
    from coded_als.models.recommending import NewUsers
    from coded_als.models.training import Iteration

__getattr__ = lazily(__name__, _HOMES)
