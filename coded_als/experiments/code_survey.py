"""Codes side by side: storage, work, messages, waiting, decoding errors, and the members of families to compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from coded_als.arrays import FLOAT_BYTES, Array
from coded_als.cluster import StoppingRule
from coded_als.cluster.backups import backups_of
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece, pieces_for
from coded_als.cluster.rules import rule_for
from coded_als.cluster.waiting import RoundCost, pieces_waiting_s, waiting_s
from coded_als.codes import CODES, CodeSpec, Entangled, MatrixCode, Replicated, ReplicatedProduct, Uncoded
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.product import multiplications
from coded_als.delays import parse_delays
from coded_als.errors import UsageError
from coded_als.kernels import product, run_to_end
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.timing import Draws

# Copies of sparse rows, at most, that are shown.
MOST_COPIES = 4
# Rows and columns of the matrix that is multiplied, at least; a code of more parts gets a row for each.
LENGTH, COLUMNS = 64, 2
# Racks that are lost, at most: evenly spread where there are more.
MOST_RACKS = 100


@dataclass(frozen=True)
class Setting:
    """The product and the cluster for which codes are compared: E = D X on W workers."""

    workers: int  # W
    # side of D and columns of X
    length: int
    columns: int
    delays: str  # a delay SPEC
    machine: Machine  # master, workers and the link between them
    rounds: int = 1000  # rounds that are drawn
    sets: int = 200  # random sets of survivors to decode from
    seed: int = 0  # seed of delays and survivors
    # nonzero entries of a sparse R; copies of its rows are compared with the codes of D; None for a dense R
    entries: int | None = None


@dataclass(frozen=True)
class CodeRow:
    """One code."""

    # its SPEC, and its family and cut
    code: str
    kind: str
    threshold: int  # responses that a round needs
    # share of D on a worker, as a fraction and in bytes
    share: float
    memory_bytes: int
    work: float  # multiplications of a worker, as a fraction of those of the whole product
    pieces: int  # of its share, in which partial work counts; 1 where only whole responses do
    # multiplications of all workers until a round ends in which no worker is late, over those of the product
    undisturbed_work: float
    # of one worker and round
    payload_bytes: int
    response_bytes: int
    errors: DecodingErrors  # measured, from as many responses as the threshold
    # virtual seconds of a round; None where some round cannot end
    mean_s: float | None
    p99_s: float | None

    def document(self) -> dict[str, Any]:
        """The row as JSON; seconds are the virtual clock's."""
        document = asdict(self)
        errors = document.pop("errors")
        times = {f"virtual_seconds_{name}": document.pop(f"{name}_s") for name in ("mean", "p99")}
        return {**document, **{f"decoding_error_{name}": value for name, value in errors.items()}, **times}


def survey(
    codes: Sequence[CodeSpec], setting: Setting, tell: Callable[[str], None] = lambda text: None
) -> list[CodeRow]:
    """Every code on the same workers under the same delays.

    Raises UsageError for a code that does not fit the workers or the problem.
    """
    rows, draws = [], Draws(parse_delays(setting.delays), setting.workers, setting.seed, 1)
    for code in [code.bind(setting.workers, setting.length) for code in codes]:
        tell(code.spec)
        rows.append(_row(code, setting, draws))
    if setting.entries is not None:
        rows += [_sparse_row(copies, setting, draws) for copies in range(1, min(MOST_COPIES, setting.workers) + 1)]
    return rows


def _row(code: CodeSpec, setting: Setting, draws: Draws) -> CodeRow:
    workers, length = setting.workers, setting.length
    product = code.for_product(workers)
    memory_bytes = FLOAT_BYTES * math.prod(product.left_shape((length, length)))
    errors = decoding_errors(product, setting.sets, setting.seed)
    known = (code.spec, kind_of(code), code.threshold(workers), code.share(workers), memory_bytes, errors)
    cost = _cost(product, setting)
    return _timed(*known, cost, _rule(code, product, cost, setting), setting, draws)


def _rule(code: CodeSpec, product: MatrixCode, cost: RoundCost, setting: Setting) -> StoppingRule:
    """The rule by which a round ends, in pieces where a fit takes them."""
    height = product.response_shape((setting.length, setting.columns))[1]
    work_s = setting.machine.computing_s(cost.operations)
    pieces = min(code.pieces or pieces_for(product, work_s, height, setting.machine), height)
    rule = rule_for(product, code.tolerance)
    return rule if pieces == 1 else EveryPiece(rule, PieceLayout(setting.workers, pieces), backups=backups_of(code))


def _sparse_row(copies: int, setting: Setting, draws: Draws) -> CodeRow:
    """The rows of a square sparse R, each block on so many workers."""
    code = Uncoded() if copies == 1 else Replicated(copies)
    size = Size(setting.length, setting.length, setting.columns, setting.entries)
    scheme = Scheme(code.spec, setting.workers, rows=True)
    ((cost, rule),) = scheme.schedule(size, code.tolerance)
    memory_bytes, nothing_to_decode = scheme.storage_bytes(size), DecodingErrors(0.0, 0.0, 0.0)
    share = memory_bytes / (FLOAT_BYTES * setting.length**2)
    known = (code.spec, "sparse rows", rule.needed, share, memory_bytes, nothing_to_decode)
    if (pieces := scheme.pieces(size, setting.machine)) > 1:
        rule = EveryPiece(rule, PieceLayout(setting.workers, pieces), summed=True)
    return _timed(*known, cost, rule, setting, draws)


def _timed(
    code: str,
    kind: str,
    threshold: int,
    share: float,
    memory_bytes: int,
    errors: DecodingErrors,
    cost: RoundCost,
    rule: StoppingRule,
    setting: Setting,
    draws: Draws,
) -> CodeRow:
    """The row of a code with this cost and rule of a round."""
    mean_s, p99_s = _times(cost, rule, setting, draws)
    work = cost.operations / (setting.length**2 * setting.columns)
    pieces, part = _calm_part(rule) if isinstance(rule, EveryPiece) else (1, 1.0)
    calm = setting.workers * work * part
    sent = int(cost.payload_bytes), int(cost.response_bytes)
    return CodeRow(code, kind, threshold, share, memory_bytes, work, pieces, calm, *sent, errors, mean_s, p99_s)


def _calm_part(until: EveryPiece) -> tuple[int, float]:
    """Pieces of a share, and the part of it that each worker has done when a round of equally fast ones ends."""
    if until.backups is not None:
        return until.layout.pieces, 1 / until.layout.pieces
    counted = EveryPiece(until.counted, until.layout)
    workers, pieces = range(until.layout.workers), until.layout.pieces
    enough = next(done for done in range(1, pieces + 1) if counted.decodable(dict.fromkeys(workers, done)))
    return pieces, enough / pieces


def _cost(product: MatrixCode, setting: Setting) -> RoundCost:
    shape = (setting.length, setting.columns)
    return RoundCost(
        multiplications(product, (setting.length,) * 2, setting.columns),
        FLOAT_BYTES * math.prod(product.right_shape(shape)),
        FLOAT_BYTES * math.prod(product.response_shape(shape)),
    )


def _times(cost: RoundCost, rule: StoppingRule, setting: Setting, draws: Draws) -> tuple[float | None, float | None]:
    """Mean and 99 % quantile over the drawn rounds; None where not all of them end."""
    schedule = [(cost, rule)]
    delays, slowness = draws.delays(schedule, setting.rounds), draws.slowness(schedule, setting.rounds)
    slower = None if slowness is None else slowness[0, :, 0]
    if isinstance(rule, EveryPiece):
        seconds = pieces_waiting_s(cost, delays[0, :, 0], setting.machine, slower, rule)
    else:
        seconds = waiting_s(cost.response_s(delays[0, :, 0], setting.machine, slower), rule)
    if not np.isfinite(seconds).all():
        return None, None
    return float(seconds.mean()), float(np.quantile(seconds, 0.99))


def all_members(workers: int, length: int) -> list[CodeSpec]:
    """Every member of every family that W workers and a D of this length allow."""
    found = [code for family in CODES.values() for code in family.candidates(workers)]
    return [code for code in found if _fits(code, workers, length)]


def best_members(workers: int, length: int, limits: Sequence[float]) -> list[CodeSpec]:
    """Of each family, and each way to cut, the member that comes nearest to each limit of memory, without passing it.

    Returns plain ones first; each kind by its memory, the least first.
    """
    families: dict[str, list[CodeSpec]] = {}
    for code in all_members(workers, length):
        families.setdefault(kind_of(code), []).append(code)
    # kinds without a code first, then by the least memory
    ordered = sorted(families.values(), key=lambda codes: (codes[0].coded, min(code.share(workers) for code in codes)))
    found = [code for members in ordered for code in _nearest(members, workers, limits)]
    if not found:
        raise UsageError(
            f"memory must hold a share of some code on {workers} workers; got {100 * max(limits):.3g} % of the matrix. "
            "Raise it or add workers."
        )
    return found


def copies_limits(workers: int, most: int = 4) -> list[float]:
    """The memory of one copy of everything, of two, ... as shares of D."""
    return [1 / (workers // copies) for copies in range(1, min(most, workers) + 1)]


def kind_of(code: CodeSpec) -> str:
    """The name of a line in a figure: the family, and for the entangled code its points and its cut."""
    if not isinstance(code, Entangled):
        return code.name
    cut = "h x h" if code.square else "p x 1" if code.r == 1 else "p x r"
    return f"{code.name} {cut}, {code.points}"


def _fits(code: CodeSpec, workers: int, length: int) -> bool:
    try:
        code.bind(workers, length)
    except UsageError:
        return False
    return True


def _nearest(members: Sequence[CodeSpec], workers: int, limits: Sequence[float]) -> Iterator[CodeSpec]:
    shares = {code: code.share(workers) for code in members}
    chosen: dict[CodeSpec, None] = {}
    for limit in sorted(limits):
        # a share is a fraction of a padded block: an equal one may differ in its last bit
        within = [code for code in members if shares[code] <= limit * (1 + 1e-9)]
        if within:
            chosen[max(within, key=lambda code: (shares[code], -code.threshold(workers)))] = None
    yield from chosen


@dataclass(frozen=True)
class DecodingErrors:
    """Relative errors (Frobenius) of a decoded product, from as many responses as the recovery threshold."""

    # over random survivors; infinite where so many did not decode
    median: float
    p99: float
    contiguous: float  # the worst after losing workers with consecutive ids


def decoding_errors(code: MatrixCode, sets: int, seed: int = 0) -> DecodingErrors:
    """Measure a code on a random problem."""
    rng = np.random.default_rng(seed)
    length = max(LENGTH, code.workers * 2)
    left, right = rng.standard_normal((length, length)), rng.standard_normal((length, COLUMNS))
    shares = zip(code.encode_left(left), code.encode_right(right), strict=True)
    responses = {worker: run_to_end(product(*pair))[0] for worker, pair in enumerate(shares)}
    exact = left @ right

    def error(chosen: list[int]) -> float:
        if not np.isfinite(code.error_estimate(chosen)):
            return np.inf
        found: Array = code.decode({worker: responses[worker] for worker in chosen}, (length, COLUMNS))
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    random = [error(_survivors(code, rng)) for _ in range(sets)]
    median, p99 = np.quantile(random, (0.5, 0.99), method="higher")
    return DecodingErrors(float(median), float(p99), max(error(chosen) for chosen in _without_a_rack(code)))


def _survivors(code: MatrixCode, rng: np.random.Generator) -> list[int]:
    """As many random workers as may suffice; of copies, one of each block."""
    if isinstance(code, ReplicatedProduct):
        return [int(rng.choice(sorted(group))) for group in code.groups]
    return [int(worker) for worker in rng.permutation(code.workers)[: code.recovery_threshold]]


def _without_a_rack(code: MatrixCode) -> list[list[int]]:
    """All workers but as many neighbours as may be lost, around the end too."""
    workers = code.workers
    spare = min(map(len, code.groups)) - 1 if isinstance(code, ReplicatedProduct) else workers - code.recovery_threshold
    firsts = np.unique(np.linspace(0, workers - 1, MOST_RACKS).astype(int))
    return [[(first + spare + place) % workers for place in range(workers - spare)] for first in firsts.tolist()]
