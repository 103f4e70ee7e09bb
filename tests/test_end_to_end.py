"""A whole factorization on real workers: stragglers, deaths, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from coded_als import CodedALS, LocalCluster
from coded_als.blas import all_blas_threads, one_blas_thread
from coded_als.errors import NotEnoughWorkers
from tests.master.processes import is_running


def matrix(rows=60, columns=44, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns))


@pytest.mark.parametrize("protocol", ["fused", "paper"])
def test_real_workers_give_what_the_calling_process_gives(protocol):
    parameters = {"rank": 4, "partitions": 3, "protocol": protocol, "solver": "als", "iterations": 8}
    alone = CodedALS(**parameters).fit(matrix())
    with LocalCluster(9, delays="bimodal:p=0.2,fast=0ms,slow=100ms", seed=1) as cluster:
        together = CodedALS(**parameters).fit(matrix(), cluster)
    np.testing.assert_allclose(together.item_factors_, alone.item_factors_, rtol=1e-8, atol=1e-8)


def test_a_process_with_sleeping_workers_ends_before_they_wake():
    """3 of 12 workers sleep for 30 s; the fit, its process included, takes a fraction of that."""
    script = """
import json, sys, numpy as np
from coded_als import CodedALS, LocalCluster
from coded_als.blas import all_blas_threads, one_blas_thread
with LocalCluster(12, delays="slow:n=3,delay=30s") as cluster:
    print(json.dumps(list(cluster.process_ids.values())), flush=True)
    model = CodedALS(5, partitions=3).fit(np.random.default_rng(0).standard_normal((80, 60)), cluster)
print(model.converged_)
"""
    started = time.monotonic()
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=25, check=True)
    elapsed_s = time.monotonic() - started
    pids, converged = run.stdout.splitlines()
    assert converged == "True"
    assert elapsed_s < 15  # of the 30 s; a busy machine takes some of them
    assert not any(is_running(pid) for pid in json.loads(pids))


@pytest.mark.parametrize("extra", [0, 1])
def test_killing_spare_workers_changes_nothing_and_one_more_is_an_error(extra):
    """SIGKILL in the middle of a fit: s = W - K are harmless, and the next one ends it at once."""
    parameters = {"rank": 4, "partitions": 3, "solver": "als", "iterations": 12}
    expected = CodedALS(**parameters).fit(matrix())
    with LocalCluster(9, restart=False) as cluster:
        victims = list(cluster.process_ids.values())[: 9 - 6 + extra]

        def kill(entry):
            if entry.index == 3:
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)

        model = CodedALS(**parameters)
        if extra == 0:
            model.fit(matrix(), cluster, callback=kill)
            np.testing.assert_allclose(model.item_factors_, expected.item_factors_, rtol=1e-8, atol=1e-8)
        else:
            with pytest.raises(NotEnoughWorkers, match="at least 6 workers must be able to respond; 5 are alive"):
                model.fit(matrix(), cluster, callback=kill)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_the_masters_blas_keeps_to_one_core_while_workers_have_the_others():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with LocalCluster(2):
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_the_master_has_its_threads_back_for_a_while_with_the_last_that_needs_them():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with all_blas_threads(), one_blas_thread():
            assert blas_threads() == before
        with one_blas_thread():
            with all_blas_threads():
                with all_blas_threads(), one_blas_thread():
                    assert blas_threads() == before
                assert blas_threads() == before
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_a_small_fit_keeps_to_one_blas_thread_and_a_large_one_does_not():
    seen = []
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        for rows in (60, 20_000):
            ratings = np.random.default_rng(0).standard_normal((rows, 50))
            CodedALS(4, iterations=1).fit(ratings, callback=lambda entry: seen.append(blas_threads()))
        assert seen == [{1}, before]
        assert blas_threads() == before
