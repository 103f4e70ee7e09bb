"""Clusters on Dask: Dask workers start the workers of coded_als (extra ``dask``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.errors import UsageError
from coded_als.lazy import lazily, public_names

try:
    import distributed  # noqa: F401
except ImportError as error:
    raise UsageError(f"clusters on Dask need it; got {error}. Install it with: pip install 'coded-als[dask]'") from None

# Loaded on first use: a Dask worker that its nanny has just started imports the plugin from here, and nothing else.
_HOMES = {
    "coded_als.dask.cluster": "DaskCluster",
    "coded_als.dask.dataset": "Dataset",
    "coded_als.dask.fitting": "fit_dataset write_model",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.dask.cluster import DaskCluster as DaskCluster
    from coded_als.dask.dataset import Dataset as Dataset
    from coded_als.dask.fitting import fit_dataset as fit_dataset, write_model as write_model


__getattr__ = lazily(__name__, _HOMES)
