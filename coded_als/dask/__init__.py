"""Clusters on Dask, whose workers start ours (extra ``dask``)."""

from coded_als.errors import UsageError

try:
    import distributed  # noqa: F401
except ImportError as error:
    raise UsageError(f"clusters on Dask need it; got {error}. Install it with: pip install 'coded-als[dask]'") from None

from coded_als.dask.cluster import DaskCluster
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import fit_dataset
from coded_als.dask.writing import write_model

__all__ = ["DaskCluster", "Dataset", "fit_dataset", "write_model"]
