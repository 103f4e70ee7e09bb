"""One run of a scenario: fits on the real master and workers under faults, and the end, once all is well again."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als import CodedALS
from coded_als.cluster import Fastest, Round, scope
from coded_als.cluster.inline import InlineCluster
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.master import rounds
from tests.simulation.baton import Violation
from tests.simulation.laws import CheckedCluster
from tests.simulation.scenario import Case, Scenario
from tests.simulation.scene import Scene

# Of the factors: responses of other workers decode to the same within rounding.
TOLERANCE = 1e-6


def play(scenario: Scenario) -> Scene:
    """Run a scenario; the scene as it is in the end.

    Raises
    ------
    Violation
        When a law does not hold.
    """
    scene = Scene(scenario)
    with _set_up(scenario):
        try:
            _play(scene)
        except Violation as violation:
            violation.trace = scene.baton.trace
            raise
        except Exception as error:
            violation = Violation(f"nothing else is raised; got {error!r}")
            violation.trace = scene.baton.trace
            raise violation from error
        finally:
            scene.is_closing = True
            scene.baton.end()
    return scene


def _play(scene: Scene) -> None:
    cluster = CheckedCluster(scene)
    for number, act in enumerate(scene.scenario.acts):
        if act == "fit":
            fit(cluster, number, must_end=False)
        else:
            bare_rounds(cluster)
    scene.heal()
    fit(cluster, len(scene.scenario.acts), must_end=True)
    cluster.require_health()
    scene.is_closing = True
    cluster.close()
    cluster.require_events()


def fit(cluster: CheckedCluster, number: int, must_end: bool) -> None:
    """A fit, whose factors are the undisturbed ones; it may end in vain where one of its rounds may."""
    case = cluster.scene.scenario.case
    right = undisturbed(case, number)
    try:
        model = CodedALS(**case.parameters).fit(data(case.is_sparse, number), cluster)
    except (NotEnoughWorkers, DecodingError) as error:
        if must_end:
            raise Violation(f"a fit ends once all is well; {error}") from error
        return
    for found, expected in zip((model.user_factors_, model.item_factors_), right, strict=True):
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise Violation("factors are as the undisturbed ones; they are not")


def bare_rounds(cluster: CheckedCluster) -> None:
    """Products with arrays of one name that are stored again, and with arrays that a round left on the workers."""
    draw, size = cluster.scene.draw, cluster.size
    for number in range(6):
        if number == 0 or draw.random() < 0.3:
            cluster.store("share", [np.full((1, 2, 2), draw.random()) for _ in range(size)])
        payloads = [(np.full((1, 2, 1), draw.random()),) for _ in range(size)]
        keep = ("kept",) if number % 2 else ()
        some = [Round("product", ("share",), payloads, keep, response_shapes=((1, 2, 1),))]
        if keep:
            some.append(Round("product", ("share", "kept"), response_shapes=((1, 2, 1),)))
        for round in some:
            with suppress(NotEnoughWorkers):
                cluster.run(round, Fastest(draw.randrange(1, size + 1)))
    cluster.drop(["share", "kept"])


@cache
def data(is_sparse: bool, number: int) -> Any:
    """One of a few small matrices, of two directions and noise."""
    draw = np.random.default_rng(number)
    matrix = draw.normal(size=(9, 2)) @ np.diag([3.0, 2.0]) @ draw.normal(size=(2, 7)) + 0.1 * draw.normal(size=(9, 7))
    return sparse.csr_array(np.where(draw.random((9, 7)) < 0.6, matrix, 0.0)) if is_sparse else matrix


_undisturbed: dict[tuple[str, int], tuple[NDArray[Any], NDArray[Any]]] = {}


def undisturbed(case: Case, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The factors of a fit that nothing disturbs."""
    key = repr(case), number
    if key not in _undisturbed:
        with mock.patch.object(scope, "_numbers", itertools.count(1)):  # and not those of the run that asks
            model = CodedALS(**case.parameters).fit(data(case.is_sparse, number), InlineCluster(case.workers))
        _undisturbed[key] = model.user_factors_, model.item_factors_
    return _undisturbed[key]


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Threads that hand the baton over never run at once: on one core that takes half the time."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[os.getpid() % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def _set_up(scenario: Scenario) -> Iterator[None]:
    """Nothing is logged, names are numbered from one, and tasks as small as these are cancelled, or not."""
    least = 0.0 if scenario.cancels else rounds.WORTH_CANCELLING
    log = logging.getLogger("coded_als")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with (
            _on_one_core(),
            mock.patch.object(rounds, "WORTH_CANCELLING", least),
            mock.patch.object(scope, "_numbers", itertools.count(1)),
        ):
            yield
    finally:
        log.setLevel(before)
