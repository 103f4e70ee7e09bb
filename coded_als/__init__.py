"""Matrix factorization on a cluster that does not wait for its slow machines."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names, offer

__version__ = "0.1.0"

# Loaded on first use: a worker process imports this package and must not pay for scipy.
_HOMES = {
    "coded_als.als": "CodedALS CodedOperator",
    "coded_als.baselines": "BPR EASE ImplicitALS Popularity RidgeALS SGD WARP",
    "coded_als.cluster.inline": "InlineCluster",
    "coded_als.cluster.virtual": "SimulatedCluster",
    "coded_als.codes": "EntangledPolynomialCode",
    "coded_als.errors": "DecodingError NotEnoughWorkers UsageError",
    "coded_als.master": "LocalCluster",
    "coded_als.evaluation.search": "EarlyStopping tune",
    "coded_als.models.checkpoint": "Checkpoint",
    "coded_als.models.persistence": "load_model",
    "coded_als.models.vectors": "export_vectors vectors_of",
    "coded_als.pca": "CodedPCA CodedTruncatedSVD",
    "coded_als.sharded": "ShardedALS",
}
# without scikit-learn these two cannot be imported, and `from coded_als import *` must work
_NEED_SKLEARN = set() if find_spec("sklearn") else {"CodedPCA", "CodedTruncatedSVD"}
__all__ = ["__version__", *(name for name in public_names(_HOMES) if name not in _NEED_SKLEARN)]

if TYPE_CHECKING:
    from coded_als.als import CodedALS as CodedALS, CodedOperator as CodedOperator
    from coded_als.baselines import (
        BPR as BPR,
        EASE as EASE,
        SGD as SGD,
        WARP as WARP,
        ImplicitALS as ImplicitALS,
        Popularity as Popularity,
        RidgeALS as RidgeALS,
    )
    from coded_als.cluster.inline import InlineCluster as InlineCluster
    from coded_als.cluster.virtual import SimulatedCluster as SimulatedCluster
    from coded_als.codes import EntangledPolynomialCode as EntangledPolynomialCode
    from coded_als.errors import (
        DecodingError as DecodingError,
        NotEnoughWorkers as NotEnoughWorkers,
        UsageError as UsageError,
    )
    from coded_als.evaluation.search import EarlyStopping as EarlyStopping, tune as tune
    from coded_als.master import LocalCluster as LocalCluster
    from coded_als.models.checkpoint import Checkpoint as Checkpoint
    from coded_als.models.persistence import load_model as load_model
    from coded_als.models.vectors import export_vectors as export_vectors, vectors_of as vectors_of
    from coded_als.pca import CodedPCA as CodedPCA, CodedTruncatedSVD as CodedTruncatedSVD
    from coded_als.sharded import ShardedALS as ShardedALS


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
        "ease": "coded_als.baselines.closed_form",
        "popularity": "coded_als.baselines.closed_form",
        "sharded": "coded_als.sharded.sharded_als",
    },
)
offer("arrays", {"dask": "coded_als.dask.row_chunks"})
offer("kernels", dict.fromkeys(("solve_block", "solve_pieces"), "coded_als.baselines.block_kernel"))


def __dir__() -> list[str]:
    return sorted(__all__)
