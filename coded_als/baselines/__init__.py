"""The baselines a careful reader asks for: factor models of the observed entries of a sparse matrix."""

from __future__ import annotations

from coded_als.baselines.bpr import BPR
from coded_als.baselines.distributed import fit_on_cluster
from coded_als.baselines.implicit import ImplicitALS
from coded_als.baselines.model import Iteration
from coded_als.baselines.policies import FirstCopy, Partial, WaitForAll
from coded_als.baselines.ridge import RidgeALS
from coded_als.baselines.stochastic import SGD
from coded_als.baselines.warp import WARP
from coded_als.models.factor_model import NewUsers

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
