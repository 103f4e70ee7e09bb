"""Verification of responses: a cluster that checks each response by itself before it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from coded_als.arrays import Array
from coded_als.checks import require_one_of
from coded_als.cluster.freivalds import (
    Comparison,
    Operand,
    PieceSketches,
    Secret,
    check_half_step,
    check_inner_product,
    check_product,
    check_rows,
    check_scaled,
    check_transposed_product,
    gram_key,
    norms,
    row_gram_key,
    row_key,
    row_transposed_key,
)
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.scope import ProxyCluster, TeedShares
from coded_als.cluster.seam import Cluster, Responses, Round, StoppingRule
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.single import growth_of
from coded_als.errors import UsageError
from coded_als.kernels import Stored, as_stored, piece_operands

Verify = Literal["off", "freivalds"]
VERIFY: tuple[Verify, ...] = ("off", "freivalds")


def verified(cluster: Cluster, verify: Verify) -> Cluster:
    """The cluster itself, or one that checks every response; `UsageError` for an unknown way to verify."""
    require_one_of("verify", verify, VERIFY)
    return cluster if verify == "off" else VerifiedCluster(cluster)


class VerifiedCluster(ProxyCluster):
    """A cluster on which wrong responses do not count, and a worker that sent one takes no part any more.

    Of each stored share the master keeps a few random combinations, made as it passes; it holds the arrays that rounds
    make workers keep as they were sent. Only as many wrong workers can be left out as the code tolerates stragglers:
    one more is `coded_als.errors.NotEnoughWorkers`, which names them.

    ``cluster``: where everything goes; closing this does not close it; ``secret``: the random combinations; new ones by
    default.
    """

    def __init__(self, cluster: Cluster, secret: Secret | None = None) -> None:
        super().__init__(cluster)
        self._secret = Secret() if secret is None else secret
        self._held: dict[str, Sequence[Any]] = {}
        self._keys: dict[tuple[object, ...], tuple[Array, float]] = {}
        self._wrong: set[int] = set()
        # a share that can be sent again can be sketched again, piece by piece
        self._sources: dict[str, Sequence[Stored]] = {}
        self._pieces: dict[tuple[str, int], list[PieceSketches]] = {}

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        sketched: list[Any] = []
        passing = self._sketched(shares, sketched)
        self._forget_pieces(name)
        if isinstance(shares, Sequence):
            self._sources[name] = shares
        # a sequence stays one, so that shares can be sent again; their sketches are the same
        self._cluster.store(name, TeedShares(shares, passing) if isinstance(shares, Sequence) else passing)
        self._keys.clear()
        self._held[name] = sketched

    def drop(self, names: Iterable[str]) -> None:
        dropped = list(names)
        self._keys.clear()
        for name in dropped:
            self._held.pop(name, None)
            self._forget_pieces(name)
        self._cluster.drop(dropped)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        if round.kernel not in CHECKS:
            raise UsageError(
                f"verify='freivalds' is defined for the kernels {', '.join(CHECKS)}; got {round.kernel!r}. "
                "Pass verify='off'."
            )
        for place, name in enumerate(round.keep):
            self._held[name] = [payload[place] for payload in round.payloads or ()]
        excluded = frozenset(self._wrong)
        if isinstance(until, EveryPiece) and until.summed:
            checked = replace(round, check_pieces=sum_check(round, self, until.layout), excluded=excluded)
        elif isinstance(until, EveryPiece):
            checked = replace(round, check_pieces=PieceCheck(round, self, until.layout), excluded=excluded)
        else:
            checked = replace(round, check=RoundCheck(round, self), excluded=excluded)
        responses = self._cluster.run(checked, until)
        self._wrong.update(responses.left_out)
        return responses

    def close(self) -> None:
        """Forget the combinations."""
        self._held.clear()
        self._keys.clear()
        self._sources.clear()
        self._pieces.clear()

    def can_check_pieces(self, name: str) -> bool:
        """Whether the shares stored under a name can be sketched piece by piece."""
        return name in self._sources

    def piece_sketches(self, name: str, layout: PieceLayout) -> list[PieceSketches]:
        """The sketches of each worker's pieces, made when they are first needed: the shares pass by once more."""
        if (name, layout.pieces) not in self._pieces:
            made = [
                PieceSketches.of(as_stored(share), self._secret, worker, layout)
                for worker, share in enumerate(self._sources[name])
            ]
            self._pieces[name, layout.pieces] = made
        return self._pieces[name, layout.pieces]

    def shares_of(self, name: str) -> Sequence[Stored]:
        """The shares stored under a name, which can be sent again."""
        return self._sources[name]

    def _forget_pieces(self, name: str) -> None:
        self._sources.pop(name, None)
        for key in [key for key in self._pieces if key[0] == name]:
            del self._pieces[key]

    def _sketched(self, shares: Iterable[Stored], sketched: list[Any]) -> Iterator[Stored]:
        """The shares, while sketches of those with planes are taken; the arrays of sparse rows are kept by name."""
        for worker, share in enumerate(map(as_stored, shares)):
            whole: Any = share
            sketched.append(Operand(whole, self._secret, worker).reduced() if share.ndim == 3 else whole)
            yield share


class RoundCheck:
    """The check of one round's responses.

    ``cluster``: the cluster that knows the arrays of the workers, and records the wrong workers.
    """

    def __init__(self, round: Round, cluster: VerifiedCluster) -> None:
        self._round, self._cluster = round, cluster
        self._norms: dict[int, Array] = {}
        self._part: tuple[int, ...] = ()  # of a sum, the piece and the number of pieces

    def __call__(self, worker: int, response: tuple[Array, ...]) -> bool:
        """Whether a worker's response is right."""
        shapes = tuple(array.shape for array in response)
        right = shapes == self._round.response_shapes and all(
            comparison.agrees(growth_of(self._round.dtype))
            for comparison in CHECKS[self._round.kernel](self, worker, response)
        )
        if not right:
            self._cluster._wrong.add(worker)
        return right

    def operands(self, worker: int) -> list[Operand]:
        """The operands of a kernel of shares, stored ones first."""
        whole = [self._cluster._held[name][worker] for name in self._round.operands]
        return [self._operand(array, worker) for array in (*whole, *self.payload(worker))]

    def arrays(self, worker: int) -> list[Any]:
        """The operands of a kernel of sparse rows, stored ones first."""
        return [*(self._cluster._held[name][worker] for name in self._round.operands), *self.payload(worker)]

    def payload(self, worker: int) -> tuple[Array, ...]:
        """The arrays that a worker is sent, (planes, rows, columns) each where they are shares."""
        return self._round.payloads[worker] if self._round.payloads is not None else ()

    def key(self, worker: int, make: Callable[[], tuple[Array, float]]) -> tuple[Array, float]:
        """Combinations of a worker's sparse rows, (k, l), and the norm (or a bound) of the matrix; made once."""
        name = (self._round.kernel, self._round.operands, worker, *self._part)
        if name not in self._cluster._keys:
            self._cluster._keys[name] = make()
        return self._cluster._keys[name]

    def combinations(self, worker: int, length: int) -> Array:
        return self._cluster._secret.combinations(worker, length)

    def _operand(self, array: Any, worker: int) -> Operand:
        if isinstance(array, Operand):
            return array
        operand = Operand(array, self._cluster._secret, worker)
        # one array may be the payload of all workers
        if id(array) in self._norms:
            operand.column_norms = self._norms[id(array)]
        else:
            self._norms[id(array)] = operand.column_norms
        return operand


class PartCheck(RoundCheck):
    """The check of parts of a sum that belong to one piece: each is a response to the rows of that piece.

    ``cluster``: the cluster that knows the arrays of the workers, and records the wrong workers;
    ``piece``: number of the piece; ``pieces``: pieces of each block.
    """

    def __init__(self, round: Round, cluster: VerifiedCluster, piece: int, pieces: int) -> None:
        super().__init__(round, cluster)
        self._part = piece, pieces

    def arrays(self, worker: int) -> list[Any]:
        return list(piece_operands(self._round.kernel, super().arrays(worker), *self._part))


def sum_check(round: Round, cluster: VerifiedCluster, layout: PieceLayout) -> Callable[[int, int, int, Array], bool]:
    """The check of a worker's part of a sum, (rows, columns), its answer to the piece at place ``first``."""
    checks = [PartCheck(round, cluster, piece, layout.pieces) for piece in range(layout.pieces)]

    def check(worker: int, first: int, last: int, part: Array) -> bool:
        assert last == first + 1
        return checks[(layout.start(worker) + first) % layout.pieces](worker, (part,))

    return check


class PieceCheck:
    """The check of one round's answers, piece by piece.

    ``round``: the round: a product of a stored share and a payload, or of two stored shares; ``cluster``: the cluster
    that knows the arrays of the workers, and records the wrong workers; ``layout``: the pieces.
    """

    def __init__(self, round: Round, cluster: VerifiedCluster, layout: PieceLayout) -> None:
        if round.kernel != "product" or not all(map(cluster.can_check_pieces, round.operands)):
            raise UsageError(
                "verify='freivalds' checks pieces of products with shares that can be sent again; "
                f"got {round.kernel!r} of {', '.join(round.operands)}. Use pieces=1, or store a list."
            )
        name, *stored = round.operands
        self._sketches, self._payloads = cluster.piece_sketches(name, layout), round.payloads or ()
        self._growth = growth_of(round.dtype)
        self._height, self._cluster, self._layout = round.response_shapes[0][1], cluster, layout
        self._norms: dict[int, Array] = {}
        self._expected = list(self._of_stored(cluster.shares_of(stored[0]))) if stored else []

    def __call__(self, worker: int, first: int, last: int, rows: Array) -> bool:
        """Whether the rows of a worker's pieces from its place ``first`` to before ``last`` are right."""
        order = self._layout.order(worker, self._height, first, last)
        start = self._layout.start(worker)
        numbers = [(start + place) % self._layout.pieces for place in range(first, last)]
        expected, columns = self._wanted(worker, numbers)
        agrees = self._sketches[worker].compare(numbers, order, expected, columns, rows).agrees(self._growth)
        if not agrees:
            self._cluster._wrong.add(worker)
        return agrees

    def _of_stored(self, shares: Iterable[Any]) -> Iterator[tuple[Array, Array]]:
        """The sketches times each worker's other stored share, of all pieces, and the norms of its columns."""
        pieces = range(self._layout.pieces)
        made: Iterable[Any] = map(as_stored, shares)
        for sketches, share in zip(self._sketches, made, strict=True):
            found = sketches.times(share, pieces)
            yield found.reshape(len(found), len(pieces), -1, found.shape[2]), norms(share.reshape(-1, share.shape[-1]))

    def _wanted(self, worker: int, numbers: Sequence[int]) -> tuple[Array, Array]:
        """The sketches of some pieces times the other factor, and the norms of its columns."""
        if self._expected:
            expected, columns = self._expected[worker]
            return expected[:, numbers].reshape(len(expected), -1, expected.shape[3]), columns
        (right,) = self._payloads[worker]
        if id(right) not in self._norms:
            self._norms[id(right)] = norms(right.reshape(-1, right.shape[-1]))
        return self._sketches[worker].times(right, numbers), self._norms[id(right)]


Comparisons = Iterator[Comparison]
KernelCheck = Callable[[RoundCheck, int, tuple[Array, ...]], Comparisons]


def _product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    left, right = check.operands(worker)
    yield check_product(left, right, response[0])


def _transposed_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    left, right = check.operands(worker)
    yield check_transposed_product(left, right, response[0])


def _inner_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    left, *right = check.operands(worker)
    yield check_inner_product(left, right[0] if right else left, response[0])


def _product_and_gram(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    stored, right, *left = check.operands(worker)
    yield check_product(stored, right, response[0])
    yield check_inner_product(left[0] if left else right, right, response[1])


def _scaled(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    share, matrix = check.operands(worker)
    yield check_scaled(share, matrix, response[0])


def _row_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    data, indices, indptr, right = check.arrays(worker)
    combinations = check.combinations(worker, len(response[0]))

    def make() -> tuple[Array, float]:
        return row_key(combinations, data, indices, indptr, len(right)), float(norms(data[:, None])[0])

    key, size = check.key(worker, make)
    yield check_rows(combinations, key, size, right, response[0], data.size)


def _row_gram_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    data, indices, indptr, right = check.arrays(worker)
    combinations = check.combinations(worker, len(right))

    def make() -> tuple[Array, float]:
        return row_gram_key(combinations, data, indices, indptr), float(norms(data[:, None])[0]) ** 2

    key, size = check.key(worker, make)
    yield check_rows(combinations, key, size, right, response[0], data.size)


def _gram_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    rows, right = check.arrays(worker)
    combinations = check.combinations(worker, len(right))

    def make() -> tuple[Array, float]:
        return gram_key(combinations, rows), float(norms(rows.reshape(-1, 1))[0]) ** 2

    key, size = check.key(worker, make)
    yield check_rows(combinations, key, size, right, response[0], max(rows.shape))


def _row_transposed_product(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    data, indices, indptr, left, extent = check.arrays(worker)
    combinations = check.combinations(worker, len(extent))

    def make() -> tuple[Array, float]:
        return row_transposed_key(combinations, data, indices, indptr), float(norms(data[:, None])[0])

    key, size = check.key(worker, make)
    yield check_rows(combinations, key, size, left, response[0], data.size)


def _solve_block(check: RoundCheck, worker: int, response: tuple[Array, ...]) -> Comparisons:
    yield from check_half_step(*check.arrays(worker), *response)


CHECKS: dict[str, KernelCheck] = {
    "product": _product,
    "transposed_product": _transposed_product,
    "inner_product": _inner_product,
    "product_and_gram": _product_and_gram,
    "scaled": _scaled,
    "row_product": _row_product,
    "row_gram_product": _row_gram_product,
    "gram_product": _gram_product,
    "row_transposed_product": _row_transposed_product,
    "solve_block": _solve_block,
}
