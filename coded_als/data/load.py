"""One entrance to every source of ratings."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from coded_als.data.binary import read_npy, read_npz
from coded_als.data.edges import PREFIX as EDGES
from coded_als.data.edges import read_edge_lines
from coded_als.data.matrix_market import read_mtx
from coded_als.data.ratings import RatingData
from coded_als.data.synthetic import PREFIX, parse_synthetic, synthetic_ratings
from coded_als.data.synthetic_graph import PREFIX as GRAPH
from coded_als.data.synthetic_graph import parse_graph, synthetic_graph
from coded_als.data.tables import from_table, read_parquet
from coded_als.data.text import read_dense_lines, read_rating_lines
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import is_table


def load_ratings(source: str | Path | Any, *, dense: bool = False, columns: Sequence[str] | None = None) -> RatingData:
    """Read ratings.

    Parameters
    ----------
    source
        ``synthetic:m=2400,n=1500,d=200,noise=0.1[,seed=0][,density=0.05][,skew=0.6]``, or a file: ``.npz`` (SciPy sparse),
        ``.npy`` (dense), ``.mtx`` or ``.mtx.gz`` (Matrix Market), ``.parquet``, anything else delimited text, also
        ``.gz``: lines ``user item rating [time]``, or ``user item``, which are counted. ``edges:FILE`` is a graph,
        lines ``source target``, and ``synthetic-graph:nodes=100000[,links=10][,domains=200][,local=0.8][,seed=0]``
        one like the web. A pipe is copied to a temporary file first. Or a table: a DataFrame of pandas, polars and
        others, or an Arrow table.
    dense
        Read text as a matrix, one row a line.
    columns
        Of a table or a Parquet file: the names of the columns of users, items, and perhaps ratings and times.

    Raises
    ------
    UsageError
        One line that says what is wrong with the source; for text, with the line number.
    """
    if is_table(source):
        return from_table(source, columns)
    is_parquet = str(source).lower().endswith(".parquet")
    if columns is not None and not is_parquet:
        raise UsageError(
            f"columns are for DataFrames and Parquet files; got {', '.join(columns)} for {source}. Remove them."
        )
    if str(source).startswith(PREFIX):
        return synthetic_ratings(parse_synthetic(str(source)))
    if str(source).startswith(GRAPH):
        return synthetic_graph(parse_graph(str(source)))
    is_graph = str(source).startswith(EDGES)
    path = Path(str(source).removeprefix(EDGES))
    name = path.name.lower()
    readers: dict[str, Callable[[Path], RatingData]] = {
        ".npz": read_npz,
        ".npy": read_npy,
        ".mtx": read_mtx,
        ".mtx.gz": read_mtx,
    }
    text_reader = read_dense_lines if dense else read_rating_lines
    if is_parquet:
        readers[".parquet"] = partial(read_parquet, columns=columns)
    reader = next((readers[suffix] for suffix in readers if name.endswith(suffix)), text_reader)
    if is_graph:
        reader = read_edge_lines
    try:
        with _rereadable(path) as file:
            return reader(file)
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"ratings must be a readable file; got {source}: {reason}. Check the path.") from None
    except MemoryError:
        raise UsageError(f"ratings must fit into memory; {source} does not. Take a part of it.") from None


@contextmanager
def _rereadable(path: Path) -> Iterator[Path]:
    """The file itself, or a copy of what a pipe holds: readers pass over their file several times."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        with path.open("rb"):
            pass
        yield path
        return
    if not stat.S_ISFIFO(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or socket"
        raise UsageError(f"ratings must be a file or a pipe; {path} is a {kind}. Check the path.")
    with tempfile.TemporaryDirectory(prefix="coded-als-") as folder:
        copy = Path(folder) / path.name
        _copy_pipe(path, copy)
        yield copy


def _copy_pipe(path: Path, copy: Path) -> None:
    try:
        with path.open("rb") as pipe, copy.open("wb") as spool:
            shutil.copyfileobj(pipe, spool)
    except OSError as error:
        raise UsageError(
            f"a pipe must be readable and fit into {tempfile.gettempdir()}; got {path}: {error.strerror}. "
            "Read from a file, or let TMPDIR name a folder with more room."
        ) from None
