"""The baselines a careful reader asks for: factor models of the observed entries of a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

# Loaded on first use: one model needs neither the others nor clusters.
_HOMES = {
    "coded_als.baselines.alternating": "ImplicitALS RidgeALS",
    "coded_als.baselines.closed_form": "EASE Popularity",
    "coded_als.baselines.distributed": "FirstCopy Partial WaitForAll fit_on_cluster",
    "coded_als.baselines.ranking": "BPR WARP",
    "coded_als.baselines.stochastic": "SGD",
    "coded_als.models.recommending": "NewUsers",
    "coded_als.models.training": "Iteration",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.baselines.alternating import ImplicitALS as ImplicitALS, RidgeALS as RidgeALS
    from coded_als.baselines.closed_form import EASE as EASE, Popularity as Popularity
    from coded_als.baselines.distributed import (
        FirstCopy as FirstCopy,
        Partial as Partial,
        WaitForAll as WaitForAll,
        fit_on_cluster as fit_on_cluster,
    )
    from coded_als.baselines.ranking import BPR as BPR, WARP as WARP
    from coded_als.baselines.stochastic import SGD as SGD
    from coded_als.models.recommending import NewUsers as NewUsers
    from coded_als.models.training import Iteration as Iteration

__getattr__ = lazily(__name__, _HOMES)
