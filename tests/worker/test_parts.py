"""Arrays that lie on a worker's machine: by number, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coded_als.worker.parts import MAP_FROM_BYTES, PartFolder


@pytest.mark.parametrize("array", [np.arange(5, dtype=np.int32), np.zeros((0, 2)), np.ones(MAP_FROM_BYTES, np.float32)])
def test_what_was_written_is_read(tmp_path: Path, array: np.ndarray) -> None:
    parts = PartFolder(str(tmp_path))
    parts.write(3, array)
    read = parts.read(3)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["3.npy"]
    parts.remove(3)
    parts.remove(3)
    assert not parts.has(3)
    with pytest.raises(OSError, match="No such file"):
        parts.read(3)


def test_a_number_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        PartFolder(str(tmp_path)).read(-1)


def test_no_objects_are_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        PartFolder(str(tmp_path)).read(0)
