"""One entrance to every source of ratings."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from coded_als.data.dialect import TextOptions
from coded_als.data.lines import plain_name
from coded_als.data.matrix_files import read_mtx, read_npy, read_npz
from coded_als.data.ratings import RatingData, Repeated
from coded_als.data.synthetic import (
    GRAPH_PREFIX,
    PREFIX,
    parse_graph,
    parse_synthetic,
    synthetic_graph,
    synthetic_ratings,
)
from coded_als.data.tables import collected, from_table, is_lazy, parquet_columns, read_parquet
from coded_als.data.text import EDGES_PREFIX, read_dense_lines, read_edge_lines, read_rating_lines
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import is_table


def load_ratings(
    source: str | Path | Any,
    *,
    dense: bool = False,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    repeated: Repeated | None = None,
) -> RatingData:
    r"""Read ratings.

    Parameters
    ----------
    source
        ``synthetic:m=2400,n=1500,d=200,noise=0.1[,seed=0][,density=0.05][,skew=0.6]``, or a file: ``.npz`` (SciPy sparse),
        ``.npy`` (dense), ``.mtx`` (Matrix Market), ``.parquet``, anything else delimited text: lines
        ``user item rating [time]``, or ``user item``, which are counted. Text and ``.mtx`` may be compressed: ``.gz``,
        ``.bz2``, ``.xz``, ``.zst``. ``edges:FILE`` is a graph, lines ``source target``, and
        ``synthetic-graph:nodes=100000[,links=10][,domains=200][,local=0.8][,seed=0]`` one like the web. A pipe is copied
        to a temporary file first, and so is an open file (anything with ``read``). Or a table: a DataFrame of pandas,
        polars and others, a LazyFrame, or an Arrow table.
    dense
        Read text as a matrix, one row a line.
    columns
        The columns of users, items, and perhaps ratings and times: their names, or in files their places from 1. Without
        it, names in line 1 that are known (``userId``, ``asin``, ``stars``, ...) say which is which, and without names
        the order is that above.
    header
        Whether line 1 of a text holds names; by default the text says.
    delimiter
        Between the fields of a text; by default the text says.
    encoding
        Encoding of a text; by default UTF-8, or that of its byte order mark.
    repeated
        Rule for a repeated pair of user and item: ``"refuse"``, or the ``"last"`` or the ``"sum"`` counts. By default
        ratings are refused and interactions are counted.

    Raises
    ------
    UsageError
        One line on the mistake in the source; for text, with the line number.

    Examples
    --------
    >>> from pathlib import Path
    >>> from coded_als.data import load_ratings
    >>> _ = Path("ratings.tsv").write_text("anna\tfilm1\t5\nbert\tfilm2\t3\n")
    >>> ratings = load_ratings("ratings.tsv")
    >>> ratings.entries, ratings.user_ids.tolist()
    (2, ['anna', 'bert'])
    """
    if is_lazy(source):
        source = collected(source, columns)
    if is_table(source):
        return from_table(source, columns, repeated=repeated)
    given = None if columns is None else ((columns,) if isinstance(columns, str) else tuple(map(str, columns)))
    options = TextOptions(given, header, delimiter, encoding)
    name = str(source)
    if hasattr(source, "read"):
        with _spooled(source) as copy:
            return _read_file(copy, copy.name, dense, options, repeated)
    if name.startswith(PREFIX):
        _refuse_options(name, options, dense, repeated)
        return synthetic_ratings(parse_synthetic(name))
    if name.startswith(GRAPH_PREFIX):
        _refuse_options(name, options, dense, repeated)
        return synthetic_graph(parse_graph(name))
    try:
        if name.startswith(EDGES_PREFIX):
            _refuse_options(name, options, dense, repeated)
            with _rereadable(Path(name.removeprefix(EDGES_PREFIX))) as path:
                return read_edge_lines(path)
        with _rereadable(Path(name)) as path:
            return _read_file(path, name, dense, options, repeated)
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"ratings must be a readable file; got {source}: {reason}. Check the path.") from None
    except MemoryError:
        raise UsageError(f"ratings must fit into memory; {source} does not. Take a part of it.") from None


def _read_file(path: Path, source: str, dense: bool, options: TextOptions, repeated: Repeated | None) -> RatingData:
    """The ratings of a file, by the ending of its name."""
    name = plain_name(path.name)
    if path.name.lower().endswith(".parquet"):
        _refuse_options(source, replace(options, columns=None), dense, None)
        return read_parquet(path, parquet_columns(path, options.columns), repeated)
    matrices = {".npz": read_npz, ".npy": read_npy, ".mtx": read_mtx}
    reader = next((matrices[suffix] for suffix in matrices if name.endswith(suffix)), None)
    if reader is not None:
        _refuse_options(source, options, False, repeated)
        return reader(path)
    if dense:
        _refuse_options(source, TextOptions(options.columns), False, repeated)
        return read_dense_lines(path, options)
    return read_rating_lines(path, options, repeated)


def _refuse_options(source: str, options: TextOptions, dense: bool, repeated: str | None) -> None:
    """An option that would be ignored is a mistake."""
    given = {
        "columns": None if options.columns is None else ",".join(options.columns),
        "header": options.header,
        "delimiter": options.delimiter,
        "encoding": options.encoding,
        "repeated": repeated,
    }
    for name, value in given.items():
        if value is not None:
            kinds = "tables and text" if name in ("columns", "repeated") else "text"
            raise UsageError(f"--{name} is for {kinds} with a rating a line; got {value!s} for {source}. Remove it.")
    if dense and source.lower().endswith(".parquet"):
        raise UsageError(f"--dense is for text; got it for {source}. Remove it.")


@contextmanager
def _spooled(file: Any) -> Iterator[Path]:
    """A file with the content of an open one, and the name that it has."""
    name = getattr(file, "name", None)
    with tempfile.TemporaryDirectory(prefix="coded-als-") as folder:
        copy = Path(folder) / (Path(name).name if isinstance(name, str) and Path(name).name else "the open file")
        with copy.open("wb") as spool:
            while content := file.read(2**20):
                spool.write(content.encode() if isinstance(content, str) else content)
        yield copy


@contextmanager
def _rereadable(path: Path) -> Iterator[Path]:
    """The file itself, or a copy of the content of a pipe: readers pass over their file several times."""
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
