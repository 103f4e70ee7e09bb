"""Matrix factorisation on a cluster that does not wait for its slow machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, offer

__version__ = "0.1.0"

# Loaded on first use: a worker process imports this package and must not pay for scipy.
_HOMES = {
    "BPR": "coded_als.baselines",
    "Checkpoint": "coded_als.models.checkpoint",
    "CodedALS": "coded_als.als",
    "CodedOperator": "coded_als.als",
    "DecodingError": "coded_als.errors",
    "EntangledPolynomialCode": "coded_als.codes",
    "ImplicitALS": "coded_als.baselines",
    "InlineCluster": "coded_als.cluster.inline",
    "LocalCluster": "coded_als.master",
    "NotEnoughWorkers": "coded_als.errors",
    "RidgeALS": "coded_als.baselines",
    "SGD": "coded_als.baselines",
    "ShardedALS": "coded_als.sharded",
    "SimulatedCluster": "coded_als.cluster.virtual",
    "UsageError": "coded_als.errors",
    "WARP": "coded_als.baselines",
    "load_model": "coded_als.models.persistence",
}
__all__ = [
    "BPR",
    "SGD",
    "WARP",
    "Checkpoint",
    "CodedALS",
    "CodedOperator",
    "DecodingError",
    "EntangledPolynomialCode",
    "ImplicitALS",
    "InlineCluster",
    "LocalCluster",
    "NotEnoughWorkers",
    "RidgeALS",
    "ShardedALS",
    "SimulatedCluster",
    "UsageError",
    "__version__",
    "load_model",
]

if TYPE_CHECKING:
    from coded_als.als import CodedALS, CodedOperator
    from coded_als.baselines import BPR, SGD, WARP, ImplicitALS, RidgeALS
    from coded_als.cluster.inline import InlineCluster
    from coded_als.cluster.virtual import SimulatedCluster
    from coded_als.codes import EntangledPolynomialCode
    from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError
    from coded_als.master import LocalCluster
    from coded_als.models.checkpoint import Checkpoint
    from coded_als.models.persistence import load_model
    from coded_als.sharded import ShardedALS


__getattr__ = lazily(__name__, _HOMES)

# The package stands above all its rooms, and so it alone tells those below where the models and kernels of those above are.
offer(
    "models",
    {
        "coded": "coded_als.als.estimator",
        "ridge": "coded_als.baselines.alternating",
        "implicit": "coded_als.baselines.alternating",
        "sgd": "coded_als.baselines.stochastic",
        "bpr": "coded_als.baselines.ranking",
        "warp": "coded_als.baselines.ranking",
        "sharded": "coded_als.sharded.sharded_als",
    },
)
offer("kernels", {"solve_block": "coded_als.baselines.block_kernel"})


def __dir__() -> list[str]:
    return sorted(__all__)
