"""Mistakes in what is installed, in where compiled code is kept, and in what is gone on from."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INSTALLING = (
    Mutant(
        "code is run from a folder that others may enter",
        "coded_als/baselines/compiled.py",
        " and not found.st_mode & 0o077",
        "",
        ("tests/baselines/test_code_cache.py::test_a_folder_that_others_may_have_filled_is_not_used",),
    ),
    Mutant(
        "code is run from a folder that others may replace",
        "coded_als/baselines/compiled.py",
        "bool(found.st_mode & stat.S_ISVTX) or not found.st_mode & 0o022",
        "True",
        ("tests/baselines/test_code_cache.py::test_a_folder_that_others_may_have_filled_is_not_used",),
    ),
    Mutant(
        "arrays of a checkpoint may have any shape",
        "coded_als/models/checkpoint.py",
        "array.dtype != dtype or not fits or",
        "array.dtype != dtype or",
        ("tests/models/test_other_checkpoints.py::test_other_contents_are_refused_or_do_no_harm",),
    ),
    Mutant(
        "a checkpoint of another version is read",
        "coded_als/models/checkpoint.py",
        "if not line.startswith(MAGIC):",
        "if not line.startswith(_NAME):",
        ("tests/models/test_other_checkpoints.py::test_a_checkpoint_of_another_version_is_refused_and_kept",),
    ),
    Mutant(
        "a link has any speed where noise hides its time",
        "coded_als/experiments/calibration.py",
        "max(_copying_s(responses), large_s - many_s)",
        "max(1e-9, large_s - many_s)",
        ("tests/experiments/test_calibration.py::test_no_speed_is_beyond_that_of_memory",),
    ),
    Mutant(
        "new workers are as quick as others in an interval",
        "coded_als/experiments/calibration.py",
        "first_s = max(0.0, float(np.median(small_s - load * planned_small_s)))",
        "first_s = 0.0",
        ("tests/experiments/test_calibration.py",),
    ),
    Mutant(
        "all workers are measured at once on the cores that they share",
        "coded_als/experiments/measuring.py",
        "min(cluster.machine.cores or cluster.size, cluster.size)",
        "cluster.size",
        ("tests/experiments/test_measuring.py",),
    ),
    Mutant(
        "lower bounds are compared as text",
        "tools/dependencies.py",
        "max(bounds.get(name, bound), bound, key=_numbers)",
        "max(bounds.get(name, bound), bound)",
        ("tests/test_dependencies.py::test_the_highest_of_two_bounds_counts_and_one_without_is_an_error",),
    ),
)
