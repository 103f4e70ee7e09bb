"""Codes side by side: what each stores, computes, sends and waits for, and how well it decodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from coded_als.als.draws import Draws
from coded_als.als.rounds import rule_for
from coded_als.als.schemes import Scheme, Size
from coded_als.arrays import FLOAT_BYTES
from coded_als.cluster import StoppingRule
from coded_als.cluster.machine import Machine
from coded_als.cluster.waiting import RoundCost, waiting_s
from coded_als.codes import Code, ProductCode, Replicated, Uncoded
from coded_als.codes.product import multiplications
from coded_als.delays import parse_delays
from coded_als.experiments.codes.errors_of_survivors import DecodingErrors, decoding_errors
from coded_als.experiments.codes.members import kind_of

# Copies of sparse rows, at most, that are shown.
MOST_COPIES = 4


@dataclass(frozen=True)
class Setting:
    """What the codes are compared for: E = D X on W workers.

    Parameters
    ----------
    workers
        W.
    length, columns
        Side of D and columns of X.
    delays
        A delay SPEC.
    machine
        Master, workers and the link between them.
    rounds
        Rounds that are drawn.
    sets
        Random sets of survivors that are decoded from.
    seed
        Seed of delays and survivors.
    entries
        Of a sparse R, those that are not zero: its rows in copies are put beside the codes of D. None for a dense one.
    """

    workers: int
    length: int
    columns: int
    delays: str
    machine: Machine
    rounds: int = 1000
    sets: int = 200
    seed: int = 0
    entries: int | None = None


@dataclass(frozen=True)
class CodeRow:
    """One code.

    Parameters
    ----------
    code, kind
        Its SPEC, and what family and cut it is of.
    threshold
        Responses that a round needs.
    share, memory_bytes
        What a worker holds of D, as a fraction of it and in bytes.
    work
        Multiplications of a worker, as a fraction of those of the whole product.
    payload_bytes, response_bytes
        Of one worker and round.
    errors
        Measured, from as many responses as the threshold.
    mean_s, p99_s
        Virtual seconds of a round; None where some round cannot end.
    """

    code: str
    kind: str
    threshold: int
    share: float
    memory_bytes: int
    work: float
    payload_bytes: int
    response_bytes: int
    errors: DecodingErrors
    mean_s: float | None
    p99_s: float | None

    def document(self) -> dict[str, Any]:
        """The row as JSON; seconds are the virtual clock's."""
        document = asdict(self)
        errors = document.pop("errors")
        times = {f"virtual_seconds_{name}": document.pop(f"{name}_s") for name in ("mean", "p99")}
        return {**document, **{f"decoding_error_{name}": value for name, value in errors.items()}, **times}


def survey(codes: Sequence[Code], setting: Setting, tell: Callable[[str], None] = lambda text: None) -> list[CodeRow]:
    """Every code on the same workers under the same delays.

    Parameters
    ----------
    codes
        Members of families, which may leave open what `Code.at` chooses.
    setting
        The problem, the workers and their delays.
    tell
        Called with the SPEC of each code as its turn comes.

    Raises
    ------
    UsageError
        For a code that does not fit the workers or the problem.
    """
    rows, draws = [], Draws(parse_delays(setting.delays), setting.workers, setting.seed, 1)
    for code in [code.at(setting.workers, setting.length) for code in codes]:
        tell(code.spec)
        rows.append(_row(code, setting, draws))
    if setting.entries is not None:
        rows += [_sparse_row(copies, setting, draws) for copies in range(1, min(MOST_COPIES, setting.workers) + 1)]
    return rows


def _row(code: Code, setting: Setting, draws: Draws) -> CodeRow:
    workers, length = setting.workers, setting.length
    product = code.product(workers)
    cost = _cost(product, setting)
    memory_bytes = FLOAT_BYTES * math.prod(product.left_shape((length, length)))
    mean_s, p99_s = _times(cost, rule_for(product, code.tolerance), setting, draws)
    return CodeRow(
        code=code.spec,
        kind=kind_of(code),
        threshold=code.threshold(workers),
        share=code.share(workers),
        memory_bytes=memory_bytes,
        work=cost.operations / (length**2 * setting.columns),
        payload_bytes=int(cost.payload_bytes),
        response_bytes=int(cost.response_bytes),
        errors=decoding_errors(product, setting.sets, setting.seed),
        mean_s=mean_s,
        p99_s=p99_s,
    )


def _sparse_row(copies: int, setting: Setting, draws: Draws) -> CodeRow:
    """The rows of a square sparse R, each block on so many workers."""
    code = Uncoded() if copies == 1 else Replicated(copies)
    size = Size(setting.length, setting.length, setting.columns, setting.entries)
    scheme = Scheme(code.spec, setting.workers, rows=True)
    ((cost, rule),) = scheme.schedule(size, code.tolerance)
    memory_bytes = scheme.storage_bytes(size)
    mean_s, p99_s = _times(cost, rule, setting, draws)
    return CodeRow(
        code=code.spec,
        kind="sparse rows",
        threshold=rule.needed,
        share=memory_bytes / (FLOAT_BYTES * setting.length**2),
        memory_bytes=memory_bytes,
        work=cost.operations / (setting.length**2 * setting.columns),
        payload_bytes=int(cost.payload_bytes),
        response_bytes=int(cost.response_bytes),
        errors=DecodingErrors(0.0, 0.0, 0.0),  # a sum, nothing to decode
        mean_s=mean_s,
        p99_s=p99_s,
    )


def _cost(product: ProductCode, setting: Setting) -> RoundCost:
    shape = (setting.length, setting.columns)
    return RoundCost(
        multiplications(product, (setting.length,) * 2, setting.columns),
        FLOAT_BYTES * math.prod(product.right_shape(shape)),
        FLOAT_BYTES * math.prod(product.response_shape(shape)),
    )


def _times(cost: RoundCost, rule: StoppingRule, setting: Setting, draws: Draws) -> tuple[float | None, float | None]:
    """Mean and 99 % quantile over the drawn rounds; None where not all of them end."""
    delays = draws.delays([(cost, rule)], setting.rounds)[0, :, 0]
    seconds = waiting_s(cost.response_s(delays, setting.machine), rule)
    if not np.isfinite(seconds).all():
        return None, None
    return float(seconds.mean()), float(np.quantile(seconds, 0.99))
