"""A product X -> A X with the left operand in shares on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from coded_als.arrays import FLOAT_BYTES, Array
from coded_als.cluster.backups import BackupMemory, BackupPolicy
from coded_als.cluster.foresight import Foresight
from coded_als.cluster.questions import EveryPiece, pieces_for
from coded_als.cluster.rules import ErrorEstimator, rule_for
from coded_als.cluster.seam import Cluster, Responses, Round, StoppingRule, TaskEvent
from coded_als.codes.pieces import CodeInPieces, Done, PieceLayout
from coded_als.codes.product import MatrixCode, multiplications

# A product that decodes worse than this, by its estimate, has no digits to go on with, under any test of the result.
AT_WORST = 0.01
# The name of D on the workers.
DATA = "D"


@dataclass(frozen=True)
class RoundRecord:
    """One round as the algorithm saw it.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> cluster = SimulatedCluster(6, "slow:n=1,delay=1s")
    >>> model = CodedALS(rank=2, code="systematic:p=4").fit(np.random.default_rng(0).standard_normal((30, 20)), cluster)
    >>> model.rounds_[0].label, model.rounds_[0].responses
    ('E = D X', 4)
    """

    label: str  # the product, for people
    responses: int  # number of responses used
    elapsed_s: float  # seconds on the cluster's clock until the last of them
    # estimated error of the product decoded from them, relative to the norms of the two matrices multiplied
    error_estimate: float
    left_out: tuple[int, ...] = ()  # workers with responses that did not count: corrupt, or not finite
    pieces: int = 1  # pieces of each share; 1 for whole shares
    partial: int = 0  # of the responses, those of workers that had done only some of their pieces
    products_s: float = 0.0  # seconds that the slowest of the responses used took to compute; the rest was waited for


class DistributedData(Protocol):
    """The data of a fit as the workers hold them, and their products with them."""

    def gram_product(self, right: Array) -> Array:
        """D X of (l, b), (l, b)."""
        ...

    def product(self, right: Array) -> Array:
        """A H of (l, d), (rows, d)."""
        ...


class RoundLog:
    """Runs rounds on a cluster and keeps a record of each."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.records: list[RoundRecord] = []
        # seconds that the master has spent so far, on the cluster's clock
        self.charged = {"encoding": 0.0, "decoding": 0.0}

    @contextmanager
    def charging(self, kind: Literal["encoding", "decoding"]) -> Iterator[None]:
        """Charge the seconds of a block to the master's encoding or decoding."""
        began = self.cluster.seconds()
        yield
        self.charged[kind] += self.cluster.seconds() - began

    @property
    def left_out(self) -> tuple[int, ...]:
        """The workers that were left out of any round so far."""
        return tuple(sorted({worker for record in self.records for worker in record.left_out}))

    def run(self, round: Round, rule: StoppingRule, error_of: ErrorEstimator) -> Responses:
        """Run one round and record it with the error that ``error_of`` estimates for its responses."""
        responses, products_s = self._run(round, rule)
        self._record(round, responses, error_of.error_estimate(responses.workers), products_s)
        return responses

    def run_pieces(self, round: Round, rule: EveryPiece, error_of: Callable[[Done], float]) -> Responses:
        """Run one round in pieces and record it with the error that ``error_of`` estimates for the pieces that count."""
        responses, products_s = self._run(round, rule)
        partial = sum(done < rule.layout.pieces for done in responses.done.values())
        self._record(round, responses, error_of(responses.done), products_s, rule.layout.pieces, partial)
        return responses

    def run_product(
        self,
        round: Round,
        rule: StoppingRule,
        code: MatrixCode,
        shape: tuple[int, int],
        accepted: float,
        pieces: int | None,
        memory: BackupMemory | Foresight | None = None,
    ) -> Array:
        """Run the one round of a product and decode it: (rows, columns) as ``shape`` says, to the accepted error.

        ``pieces``: of each share; None: by operation counts. ``memory``: of earlier rounds of this product.
        """
        height = code.response_shape(shape)[1]
        if pieces is None:
            machine = self.cluster.machine
            pieces = pieces_for(code, machine.computing_s(round.operations), height, machine)
        if min(pieces, height) == 1:
            responses = self.run(round, rule, code)
            with self.charging("decoding"):
                return code.decode(responses.first(), shape, accepted)
        layout = PieceLayout(code.workers, min(pieces, height))  # no piece without a row
        memory = memory or Foresight()
        until = memory.foreseen(EveryPiece(rule, layout), round.operations)
        split = CodeInPieces(code, until.layout)
        responses = self.run_pieces(round, until, split.error_estimate)
        memory.learn(responses, until, round.operations)
        with self.charging("decoding"):
            return split.decode(responses.first(), responses.done, shape, accepted)

    def _run(self, round: Round, rule: StoppingRule) -> tuple[Responses, float]:
        """The responses, and the seconds that the slowest of those used took to compute."""
        computed_s = [0.0]

        def hear(event: TaskEvent) -> None:
            if event.status == "counted":
                computed_s.append(event.computed_s)

        self.cluster.observers.append(hear)
        try:
            responses = self.cluster.run(round, rule)
        finally:
            self.cluster.observers.remove(hear)
        return responses, min(max(computed_s), responses.elapsed_s)

    def _record(
        self,
        round: Round,
        responses: Responses,
        estimate: float,
        products_s: float,
        pieces: int = 1,
        partial: int = 0,
    ) -> None:
        left_out, used = responses.left_out, len(responses.workers)
        self.records.append(
            RoundRecord(round.label, used, responses.elapsed_s, estimate, left_out, pieces, partial, products_s)
        )


class StoredProduct:
    """C = A X for an A that the workers hold.

    ``log``: where its rounds run; ``code``: how A and X are spread; ``operand``: name under which the workers hold
    their shares of A; ``shape``: (rows, columns) of A; ``tolerance``: estimated relative error that a decoded product
    may have; ``transposed_shares``: whether the stored arrays are the transposed shares of A, as the Gram product
    leaves them; ``label``: name of its rounds, for people; ``at_worst``: estimated relative error that it may have if
    no other worker can respond; 0 refuses more than the tolerance; ``pieces``: pieces of each share; None: by operation
    counts, for each round; ``backups``: policy of second copies, which learns from each round; None for none.
    """

    def __init__(
        self,
        log: RoundLog,
        code: MatrixCode,
        operand: str,
        shape: tuple[int, int],
        tolerance: float,
        *,
        transposed_shares: bool = False,
        label: str = "A X",
        at_worst: float = 0.0,
        pieces: int | None = 1,
        backups: BackupPolicy | None = None,
    ) -> None:
        self._pieces = 1 if transposed_shares else pieces
        self._log, self._code, self._operand, self._shape = log, code, operand, shape
        self._accepted, self._label = max(tolerance, at_worst), label
        self._kernel = "transposed_product" if transposed_shares else "product"
        self._rule = rule_for(code, tolerance, at_worst)
        self._memory = Foresight() if backups is None else BackupMemory(backups)

    def __call__(self, right: Array) -> Array:
        """A X in one round. ``right``: X, (columns of A, columns)."""
        shape = (self._shape[0], right.shape[1])
        with self._log.charging("encoding"):
            # a code may encode its shares while they are taken
            shares = self._code.encode_right(np.ascontiguousarray(right, dtype=np.float64))
            payloads = [(share,) for share in shares]
        round = Round(
            kernel=self._kernel,
            operands=(self._operand,),
            payloads=payloads,
            response_shapes=(self._code.response_shape(shape),),
            operations=multiplications(self._code, self._shape, right.shape[1])
            * self._code.dtype.itemsize
            / FLOAT_BYTES,
            label=self._label,
            dtype=self._code.dtype,
        )
        return self._log.run_product(round, self._rule, self._code, shape, self._accepted, self._pieces, self._memory)
