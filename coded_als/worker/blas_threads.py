"""One BLAS thread per worker; read before NumPy is imported, so it imports nothing."""

from __future__ import annotations

ONE_BLAS_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
