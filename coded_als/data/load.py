"""One entrance to every source of ratings."""

from __future__ import annotations

from pathlib import Path

from coded_als.data.binary import read_npy, read_npz
from coded_als.data.matrix_market import read_mtx
from coded_als.data.ratings import RatingData
from coded_als.data.synthetic import PREFIX, parse_synthetic, synthetic_ratings
from coded_als.data.text import read_dense_lines, read_rating_lines
from coded_als.errors import UsageError


def load_ratings(source: str | Path, *, dense: bool = False) -> RatingData:
    """Read ratings.

    Parameters
    ----------
    source
        ``synthetic:m=2400,n=1500,d=200,noise=0.1[,seed=0][,density=0.05]``, or a file: ``.npz`` (SciPy sparse),
        ``.npy`` (dense), ``.mtx`` or ``.mtx.gz`` (Matrix Market), anything else delimited text, also ``.gz``:
        lines ``user item rating [time]``.
    dense
        Read text as a matrix, one row a line.

    Raises
    ------
    UsageError
        One line that says what is wrong with the source; for text, with the line number.
    """
    if str(source).startswith(PREFIX):
        return synthetic_ratings(parse_synthetic(str(source)))
    path = Path(source)
    name = path.name.lower()
    readers = {".npz": read_npz, ".npy": read_npy, ".mtx": read_mtx, ".mtx.gz": read_mtx}
    text_reader = read_dense_lines if dense else read_rating_lines
    reader = next((readers[suffix] for suffix in readers if name.endswith(suffix)), text_reader)
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        with path.open("rb"):
            pass
        return reader(path)
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"ratings must be a readable file; got {source}: {reason}. Check the path.") from None
    except MemoryError:
        raise UsageError(f"ratings must fit into memory; {source} does not. Take a part of it.") from None
