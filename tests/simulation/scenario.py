"""The scenarios of a simulation: fits on a small cluster, and the faults that disturb them, all drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["cut", "hold", "crash", "stop", "slow", "repeat", "lie"]
Act = Literal["fit", "bare"]
KINDS: tuple[Kind, ...] = ("cut", "hold", "crash", "stop", "slow", "repeat", "lie")


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``cut``: the connection breaks, and what is under way is lost; its ends notice after the second and third of ``seconds``
    and it is there again after the first. ``hold``: nothing gets through for so long, as in a partition. ``crash``: the
    process dies and another is started. ``stop``: it stops and goes on. ``slow``: its work takes longer. ``repeat``: its
    next messages come twice, the second time late. ``lie``: all that it computes is wrong from now on.
    """

    kind: Kind
    worker: int
    after_messages: int
    seconds: tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """A fit: the number of workers, and the estimator's parameters."""

    workers: int
    parameters: dict[str, Any] = field(hash=False, default_factory=dict)
    is_sparse: bool = False

    @property
    def verifies(self) -> bool:
        """Whether its responses are checked."""
        return self.parameters.get("verify", "off") != "off"


def _case(workers: int, code: str, *, is_sparse: bool = False, **parameters: Any) -> Case:
    common = {"rank": 2, "code": code, "iterations": 3, "solver": "als"}
    return Case(workers, {**common, **parameters}, is_sparse)


ACTS: tuple[tuple[Act, ...], ...] = (("fit",), ("fit",), ("fit", "fit"), ("bare",), ("bare", "bare"), ("bare", "fit"))
CASES = (
    _case(3, "uncoded"),
    _case(4, "systematic:p=3"),
    _case(5, "systematic:p=3"),
    _case(8, "systematic:p=6", iterations=2),
    _case(5, "systematic:p=2", solver="krylov", block=1),
    _case(4, "replicated:copies=2"),
    _case(6, "replicated:copies=3", iterations=2),
    _case(5, "systematic:p=3", precomputation="coded", iterations=2),
    _case(4, "systematic:p=2,pieces=3", iterations=2),
    _case(6, "replicated:copies=2,pieces=2", iterations=2),
    _case(5, "systematic:p=3", iterations=2, verify="freivalds"),
    _case(5, "systematic:p=2,pieces=3", iterations=2, verify="freivalds"),
    _case(4, "hedged", iterations=2),
    _case(4, "speculative", iterations=2),
    _case(6, "entangled:h=2", iterations=2),
    _case(6, "entangled:h=2,points=real", protocol="paper", iterations=2),
    _case(4, "replicated:copies=2", is_sparse=True, precomputation="none", iterations=2),
    _case(4, "replicated:copies=2,pieces=2", is_sparse=True, precomputation="none", iterations=2),
)


@dataclass(frozen=True)
class Scenario:
    """All that one run is made of.

    Parameters
    ----------
    seed
        Of the schedule and of the seconds that work and messages take.
    case
        The fit.
    acts
        What follows each other before all is well again: a fit, or some bare rounds. One more fit follows then.
    faults
        In the order of ``after_messages``.
    parts
        Whether the workers load their shares where these lie, as on Dask.
    tells
        Whether workers learn that their connection broke, and connect again.
    return_within_s
        How long a round waits for workers that are lost.
    cancels
        Whether tasks are cancelled that are as small as these.
    delays
        SPEC of injected delays.
    in_order
        Whether the schedule is the plainest one.
    """

    seed: int
    case: Case
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]
    parts: bool
    tells: bool
    return_within_s: float
    cancels: bool
    delays: str
    in_order: bool = False


def _seconds(draw: random.Random) -> tuple[float, float, float]:
    scale_s = draw.choice((2e-3, 2e-2, 0.2, 1.0))
    first, second, third = (min(2.0, draw.expovariate(1 / scale_s)) for _ in range(3))
    return first, second, third


def drawn(seed: int) -> Scenario:
    """The scenario of a seed."""
    draw = random.Random(f"scenario {seed}")
    case = draw.choice(CASES)
    acts = ACTS[0] if case.verifies else draw.choice(ACTS)  # bare rounds check no response
    tells = draw.random() < 0.7
    kinds = [kind for kind in KINDS if (tells or kind != "cut") and (case.verifies or kind != "lie")]
    faults = [
        Fault(
            draw.choice(kinds),
            draw.randrange(case.workers),
            int(draw.triangular(0, 80 * len(acts), 20)),
            _seconds(draw),
        )
        for _ in range(draw.choice((0, 1, 2, 3, 4, 6, 8)))
    ]
    return Scenario(
        seed,
        case,
        acts,
        tuple(sorted(faults, key=lambda fault: fault.after_messages)),
        draw.random() < 0.4,
        tells,
        draw.choice((0.0, 20.0, 20.0)),
        draw.random() < 0.5,
        draw.choice(("none", "none", "exp:mean=5ms", "exp:mean=100ms")),
    )
