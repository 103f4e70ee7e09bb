"""Parameters of `ShardedALS` and what is refused of them."""

from __future__ import annotations

from typing import Any

from coded_als.checks import require_number, require_one_of, require_whole
from coded_als.errors import UsageError

# parameters that only one of the objectives has
_OF_IMPLICIT = ("unobserved_weight", "frequency_exponent")
_OF_EXPLICIT = ("biases", "bias_regularization", "regularization_scaling")


def require_parameters(model: Any) -> None:
    """Raise `UsageError` unless the parameters of a model make sense.

    Parameters
    ----------
    model
        Whose attributes they are; its ``loss`` is one that there is.
    """
    for name in ("rank", "iterations", "cg_steps", "piece_length"):
        require_whole(name, getattr(model, name), 1)
    require_whole("batch_pieces", model.batch_pieces, 16)
    require_whole("seed", model.seed, 0)
    if model.devices is not None:
        require_whole("devices", model.devices, 1)
    require_one_of("solver", model.solver, ("cholesky", "cg"))
    require_one_of("table_dtype", model.table_dtype, ("float32", "bfloat16"))
    require_number("regularization", model.regularization, positive=True)
    require_number("top_n_recall", model.top_n_recall, positive=True)
    if model.top_n_recall > 1:
        raise UsageError(f"top_n_recall must be at most 1, the exact lists; got {model.top_n_recall}. Lower it.")
    for name in _OF_EXPLICIT if model.loss == "implicit" else _OF_IMPLICIT:
        if getattr(model, name) is not None:
            raise UsageError(
                f"{name} must be left out with loss={model.loss!r}; got {getattr(model, name)!r}. Drop it."
            )
    for name in ("unobserved_weight", "bias_regularization"):
        if getattr(model, name) is not None:
            require_number(name, getattr(model, name), positive=True)
    if model.frequency_exponent is not None:
        require_number("frequency_exponent", model.frequency_exponent)
    if model.regularization_scaling is not None:
        require_one_of("regularization_scaling", model.regularization_scaling, ("none", "count"))
