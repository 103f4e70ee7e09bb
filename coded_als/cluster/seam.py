"""The interface between the algorithm and the clusters that run it.

The algorithm (`coded_als.als`) describes work as `Round`s and hands them to a `Cluster`.
A cluster runs a round on its workers and returns at the very response that satisfies the
round's `StoppingRule`; it never waits for a straggler. Real processes (`coded_als.master`),
a virtual clock (`coded_als.cluster.virtual`) and the calling process (`coded_als.cluster.inline`)
implement the same protocol.

Arrays at this interface are real float64, or float32 where a round says so; a stored one may be int32, which places of sparse
entries are. A share or a response at a point of the unit circle is complex and travels as two stacked real planes, shape ``(2, rows, columns)``; at a real
point there is one plane. So encoding, multiplying and decoding are real matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from coded_als.arrays import FLOAT64, SINGLE, Array, Shape
from coded_als.checks import all_finite
from coded_als.cluster.machine import Machine
from coded_als.delays.models import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.kernels import Stored

Check = Callable[[int, tuple[Array, ...]], bool]
# Of a worker's rows from one of its places to before another: whether they are right.
CheckPieces = Callable[[int, int, int, Array], bool]


class StoppingRule(Protocol):
    """A rule that decides from the workers that have responded whether a round may end."""

    @property
    def needed(self) -> int:
        """The fewest responses that could satisfy the rule."""
        ...

    def satisfied(self, responded: Sequence[int]) -> bool:
        """Whether the responses of these workers, given in order of arrival, suffice."""
        ...

    def refusal(self, reachable: Sequence[int]) -> CodedALSError:
        """The error to raise when even the responses of all ``reachable`` workers do not suffice."""
        ...


@dataclass(frozen=True)
class Round:
    """One request to every worker.

    Parameters
    ----------
    kernel
        A name in `coded_als.kernels.KERNELS`.
    operands
        Names of stored arrays, passed to the kernel first.
    payloads
        One tuple of arrays per worker (passed to the kernel after the operands), or None.
        The same tuple may be repeated: nothing is copied.
    keep
        Names under which a worker keeps the arrays of its payload, in order and from the
        moment it receives them, also when it is then pre-empted.
    response_shapes
        The shapes every response must have; a response of other shapes is refused.
    operations
        Real multiplications that one worker carries out: the work that a virtual clock charges.
    label
        Name for people and timelines: ``"E = D B"``.
    check
        Function that decides whether a worker's response is right (`coded_als.cluster.verification`); None believes it.
    check_pieces
        The same of the rows of some of its pieces, in a round in pieces.
    excluded
        Workers that take no part.
    dtype
        Type of the numbers of payloads and responses; int32 places of sparse entries stay as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als.cluster import Round
    >>> block = np.ones((1, 2, 1))
    >>> round = Round("product", operands=("A",), payloads=[(block,)] * 3, label="E = A B")
    """

    kernel: str
    operands: tuple[str, ...] = ()
    payloads: Sequence[tuple[Array, ...]] | None = None
    keep: tuple[str, ...] = ()
    response_shapes: tuple[Shape, ...] = ()
    operations: float = 0.0
    label: str = ""
    check: Check | None = None
    check_pieces: CheckPieces | None = None
    excluded: frozenset[int] = frozenset()
    dtype: np.dtype[Any] = FLOAT64

    def __post_init__(self) -> None:
        if self.dtype not in (FLOAT64, SINGLE):
            raise UsageError(f"dtype must be float64 or float32; got {self.dtype!r}. Leave it out.")

    @property
    def payload_bytes(self) -> int:
        """Bytes of arrays sent to one worker."""
        return sum(array.nbytes for array in self.payloads[0]) if self.payloads else 0

    @property
    def response_bytes(self) -> int:
        """Bytes of arrays in one response."""
        return sum(self.array_bytes(shape) for shape in self.response_shapes)

    def array_bytes(self, shape: Shape) -> int:
        """Return the bytes of an array of this shape in a response."""
        return self.dtype.itemsize * math.prod(shape)


@dataclass(frozen=True)
class Responses:
    """The counted responses of a round.

    Parameters
    ----------
    workers
        The workers with responses that count, in order of arrival.
    results
        The arrays of each of them.
    elapsed_s
        Seconds from the start of the round to its last counted response, on the cluster's clock.
    left_out
        Workers with responses that did not count: corrupt, or not finite.
    done
        Of a round in pieces (`coded_als.cluster.questions`): number of pieces of each worker that count. Its result is
        then one array with the rows of these pieces, one after the other in the worker's own order, or of a sum an array
        for each. Empty for whole shares.
    answered_s
        Of a round with second copies (`coded_als.cluster.backups`): seconds from its start to each worker's answer to
        its own task.
    paces
        Of a round in pieces: the seconds that each worker had its task before it began to work, and took for each piece;
        of the workers that were heard.
    """

    workers: tuple[int, ...]
    results: Mapping[int, tuple[Array, ...]]
    elapsed_s: float
    left_out: tuple[int, ...] = ()
    done: Mapping[int, int] = field(default_factory=dict)
    answered_s: Mapping[int, float] = field(default_factory=dict)
    paces: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def first(self) -> dict[int, Array]:
        """The first array of each response, (planes, rows, columns), by worker."""
        return {worker: result[0] for worker, result in self.results.items()}


Status = Literal["counted", "refused", "corrupt", "late", "superseded", "unsent", "lost", "unfinished"]


@dataclass(frozen=True)
class TaskEvent:
    """The outcome of one task: a worker's part of a round.

    Times are seconds on the cluster's clock since the cluster started; None where the task never
    got so far. `waited_s` (injected delay) and `computed_s` are durations measured by the worker.

    ``counted``: counted in its round. ``refused``: the response held NaN or infinity and did not count.
    ``corrupt``: the response was found wrong by the round's check and did not count.
    ``late``: responded after the round had ended. ``superseded``: the worker dropped it for a newer task.
    ``unsent``: the worker had no credit. ``lost``: the worker died. ``unfinished``: still open when the
    cluster closed. ``pieces``: number of pieces of the share that counted; None in a round of whole shares.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> from coded_als.cluster.recording import EventLog
    >>> cluster, log = SimulatedCluster(6, "slow:n=1,delay=1s"), EventLog()
    >>> cluster.observers.append(log)
    >>> model = CodedALS(rank=2, code="systematic:p=4").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> sum(event.status == "counted" for event in log.events if event.round_index == 0)
    4
    """

    round_index: int
    label: str
    worker: int
    status: Status
    sent_s: float | None
    received_s: float | None
    waited_s: float = 0.0
    computed_s: float = 0.0
    pieces: int | None = None


Observer = Callable[[TaskEvent], None]


class Cluster(Protocol):
    """W workers that hold arrays and run kernels.

    Examples
    --------
    >>> from coded_als import InlineCluster
    >>> from coded_als.cluster import Cluster, Fastest, Round
    >>> import numpy as np
    >>> cluster: Cluster = InlineCluster(3)
    >>> cluster.store("A", [np.full((1, 2, 2), worker) for worker in range(3)])  # one plane each
    >>> responses = cluster.run(Round("product", ("A",), [(np.ones((1, 2, 1)),)] * 3), Fastest(2))
    >>> len(responses.workers)
    2
    """

    @property
    def size(self) -> int:
        """Number of workers W."""
        ...

    @property
    def observers(self) -> list[Observer]:
        """Functions that the cluster calls once per task with its outcome."""
        ...

    @property
    def machine(self) -> Machine:
        """Speeds of master, workers and link, by which a plan estimates rounds on this cluster."""
        ...

    @property
    def delays(self) -> DelayModel:
        """The seconds that are added to each worker's work; `coded_als.delays.NoDelay` where none are."""
        ...

    @property
    def virtual(self) -> bool:
        """Whether `seconds` counts virtual seconds and not wall seconds."""
        ...

    def seconds(self) -> float:
        """Return seconds since the cluster started, on its own clock."""
        ...

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        """Give each worker one array to keep, as `as_stored` has it; ``shares`` is consumed one at a time.

        Those of a sequence (a list, or `coded_als.cluster.scope.Shares`) can be given to a worker that comes back.

        Parameters
        ----------
        name
            Name by which rounds use it.
        shares
            One array for each worker.
        """
        ...

    def drop(self, names: Iterable[str]) -> None:
        """Let the workers forget arrays that were stored or kept; names without arrays are no mistake."""
        ...

    def run(self, round: Round, until: StoppingRule) -> Responses:
        """Run one round; return at the response that satisfies ``until``.

        Parameters
        ----------
        round
            The task of the workers.
        until
            Rule that decides from the workers that have responded whether the round may end.
        """
        ...

    def close(self) -> None:
        """Let go of the workers at once, stragglers included."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: object) -> None: ...


def verdict(round: Round, worker: int, arrays: tuple[Array, ...]) -> Status:
    """Whether a response counts, the one gate of all clusters: ``"counted"``, or ``"refused"`` or ``"corrupt"``."""
    right = round.check is None or round.check(worker, arrays)
    if not all_finite(arrays):
        return "refused"
    return "counted" if right else "corrupt"


def require_stored(round: Round, stored: Collection[str]) -> None:
    """`UsageError` unless the operands of a round are stored, or kept from its own payload."""
    unknown = set(round.operands) - set(round.keep) - set(stored)
    if unknown:
        raise UsageError(f"operands must be stored before they are used; got {sorted(unknown)}. Call store first.")
