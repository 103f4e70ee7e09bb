"""Arrays and kernels of workers that are only dictionaries, and the responses that a round uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.rules import counted_workers
from coded_als.cluster.seam import Round, Status, StoppingRule, require_stored, verdict
from coded_als.codes.pieces import Done, PieceLayout
from coded_als.errors import UsageError
from coded_als.kernels import PIECEWISE, Stored, as_stored, find_kernel, run_to_end


class HeldArrays:
    """Arrays of W workers of the calling process, and the kernels that run on them."""

    def __init__(self, workers: int) -> None:
        self._memory: list[dict[str, Stored]] = [{} for _ in range(workers)]

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        for memory, share in zip(self._memory, shares, strict=True):
            memory[name] = as_stored(share)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            for memory in self._memory:
                memory.pop(name, None)

    def receive(self, round: Round) -> None:
        """Store the arrays that a round sends to be kept on every worker, whether or not it will respond in time.

        Raises UsageError when an operand is not there.
        """
        require_stored(round, self._memory[0] if self._memory else ())
        for worker, memory in enumerate(self._memory):
            if round.payloads is not None:
                memory.update(zip(round.keep, round.payloads[worker], strict=False))

    def compute(self, worker: int, round: Round) -> tuple[Array, ...]:
        """The response of one worker, (planes, rows, columns) each."""
        memory = self._memory[worker]
        payload = round.payloads[worker] if round.payloads is not None else ()
        return run_to_end(find_kernel(round.kernel)(*(memory[name] for name in round.operands), *payload))

    def gather(
        self, round: Round, order: tuple[int, ...], until: StoppingRule, left_out: dict[int, Status]
    ) -> dict[int, tuple[Array, ...]]:
        """The responses that a round uses, (planes, rows, columns) each, when the workers respond in ``order``.

        Raises NotEnoughWorkers, DecodingError when even all of them do not satisfy the rule.
        """
        computed: dict[int, tuple[Array, ...]] = {}
        left_out.update(excluded_from(round))
        while True:
            counted = counted_workers(tuple(worker for worker in order if worker not in left_out), until, left_out)
            for worker in counted:
                if worker not in computed:
                    computed[worker] = self.compute(worker, round)
                    status = verdict(round, worker, computed[worker])
                    if status != "counted":
                        left_out[worker] = status
                        break
            else:
                return {worker: computed[worker] for worker in counted}

    def accepts(
        self, round: Round, layout: PieceLayout, left_out: dict[int, Status], whole: dict[int, Array]
    ) -> Callable[[int], bool]:
        """Whether a worker's answers count: they are computed, all at once, when the first of them arrives."""

        def accept(worker: int) -> bool:
            response = self.compute(worker, round)
            status = verdict(round, worker, response)
            if status == "counted" and round.check_pieces is not None:
                (rows,) = rows_done(layout, {worker: response[0]}, {worker: layout.pieces})[worker]
                status = "counted" if round.check_pieces(worker, 0, layout.pieces, rows) else "corrupt"
            if status != "counted":
                left_out[worker] = status
                return False
            (whole[worker],) = response
            return True

        return accept

    def clear(self) -> None:
        """Forget everything."""
        self._memory.clear()


def excluded_from(round: Round) -> dict[int, Status]:
    """The workers that take no part in a round, because responses of theirs were found wrong."""
    return dict.fromkeys(sorted(round.excluded), "corrupt")


def newly(left_out: Mapping[int, Status], round: Round) -> dict[int, Status]:
    """The workers that this round newly leaves out, each with the reason."""
    return {worker: status for worker, status in left_out.items() if worker not in round.excluded}


def rows_done(layout: PieceLayout, whole: Mapping[int, Array], done: Done) -> dict[int, tuple[Array, ...]]:
    """The rows of the pieces that count, (planes, rows, columns), one after the other in each worker's own order."""
    found: dict[int, tuple[Array, ...]] = {}
    for worker, pieces in done.items():
        rows = layout.order(worker, whole[worker].shape[1], 0, pieces)
        found[worker] = (np.concatenate([whole[worker][:, part] for part in rows], axis=1),)
    return found


def require_one_product(round: Round) -> None:
    """`UsageError` unless the response to a round in pieces is one array of rows."""
    if len(round.response_shapes) != 1 or round.kernel not in PIECEWISE:
        raise UsageError(
            f"a round in pieces must be one product, by a kernel of {', '.join(PIECEWISE)}; got {round.kernel!r}. "
            "Use whole shares."
        )
