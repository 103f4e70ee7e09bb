"""Arrays and kernels of workers that are only dictionaries, and the responses that a round uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster.rules import counted_workers
from coded_als.cluster.seam import Round, Status, StoppingRule, require_stored, verdict
from coded_als.codes.pieces import Done, PieceLayout
from coded_als.errors import UsageError
from coded_als.kernels import PIECEWISE, SUMMED, Stored, as_stored, find_kernel, piece_operands, run_to_end


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
        self, round: Round, layout: PieceLayout, left_out: dict[int, Status], answers: dict[int, tuple[Array, ...]]
    ) -> Callable[[int], bool]:
        """Whether a worker's answers count: they are computed, all at once, when the first of them arrives."""

        def accept(worker: int) -> bool:
            parts = self.compute_pieces(worker, round, layout)
            status = verdict(round, worker, parts)
            check = round.check_pieces
            if status == "counted" and check is not None:
                right = all(check(worker, place, place + 1, part) for place, part in enumerate(parts))
                status = "counted" if right else "corrupt"
            if status != "counted":
                left_out[worker] = status
                return False
            answers[worker] = parts
            return True

        return accept

    def compute_pieces(self, worker: int, round: Round, layout: PieceLayout) -> tuple[Array, ...]:
        """The answers of one worker to each piece, in its own order."""
        if round.kernel not in SUMMED:
            (whole,) = self.compute(worker, round)
            return tuple(whole[:, rows] for rows in layout.order(worker, whole.shape[1], 0, layout.pieces))
        memory, payload = self._memory[worker], round.payloads[worker] if round.payloads is not None else ()
        operands = [*(memory[name] for name in round.operands), *payload]
        order = ((layout.start(worker) + place) % layout.pieces for place in range(layout.pieces))
        kernel, pieces = find_kernel(round.kernel), layout.pieces
        return tuple(run_to_end(kernel(*piece_operands(round.kernel, operands, part, pieces)))[0] for part in order)

    def clear(self) -> None:
        """Forget everything."""
        self._memory.clear()


def excluded_from(round: Round) -> dict[int, Status]:
    """The workers that take no part in a round, because responses of theirs were found wrong."""
    return dict.fromkeys(sorted(round.excluded), "corrupt")


def newly(left_out: Mapping[int, Status], round: Round) -> dict[int, Status]:
    """The workers that this round newly leaves out, each with the reason."""
    return {worker: status for worker, status in left_out.items() if worker not in round.excluded}


def counted_answers(answers: Mapping[int, tuple[Array, ...]], done: Done, summed: bool) -> dict[int, tuple[Array, ...]]:
    """The rows of the pieces that count, (planes, rows, columns), one after the other in each worker's own order.

    Of a sum, each part by itself.
    """
    parts = {worker: answers[worker][:pieces] for worker, pieces in done.items()}
    return parts if summed else {worker: (np.concatenate(part, axis=1),) for worker, part in parts.items()}


def require_one_product(round: Round) -> None:
    """`UsageError` unless the response to a round in pieces is one array of rows."""
    kernels = (*PIECEWISE, *SUMMED)
    if len(round.response_shapes) != 1 or round.kernel not in kernels:
        raise UsageError(
            f"a round in pieces must be one product, by a kernel of {', '.join(kernels)}; got {round.kernel!r}. "
            "Use whole shares."
        )
