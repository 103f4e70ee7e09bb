"""The baselines a careful reader asks for: factor models of the observed entries of a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily

# Loaded on first use: one model needs neither the others nor clusters.
_HOMES = {
    "BPR": "coded_als.baselines.bpr",
    "FirstCopy": "coded_als.baselines.policies",
    "ImplicitALS": "coded_als.baselines.implicit",
    "Iteration": "coded_als.models.iterations",
    "NewUsers": "coded_als.models.factor_model",
    "Partial": "coded_als.baselines.policies",
    "RidgeALS": "coded_als.baselines.ridge",
    "SGD": "coded_als.baselines.stochastic",
    "WARP": "coded_als.baselines.warp",
    "WaitForAll": "coded_als.baselines.policies",
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
    from coded_als.baselines.bpr import BPR
    from coded_als.baselines.distributed import fit_on_cluster
    from coded_als.baselines.implicit import ImplicitALS
    from coded_als.baselines.policies import FirstCopy, Partial, WaitForAll
    from coded_als.baselines.ridge import RidgeALS
    from coded_als.baselines.stochastic import SGD
    from coded_als.baselines.warp import WARP
    from coded_als.models.factor_model import NewUsers
    from coded_als.models.iterations import Iteration

__getattr__ = lazily(__name__, _HOMES)
