"""A text file, compressed or not, as chunks of whole lines."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from coded_als.errors import UsageError

WHITESPACE = b" "
_CHUNK_BYTES = 2**22
_STAND_IN = b"\x1f"  # fields are cut at one byte; this one separates units and is in no id
_BLANK = re.compile(rb"(?m)^[ \t]+$")


class Lines:
    """The lines of a file. Line ends are made plain, and lines of white space empty; all keep their numbers.

    Parameters
    ----------
    path
        UTF-8 text; ``.gz`` is decompressed on the way.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Number, from 1, and text of every line that is not blank."""
        for first_line, text in self.chunks():
            for number, line in enumerate(io.BytesIO(text), first_line):
                if line != b"\n":
                    yield number, line[:-1]

    def first_filled(self, count: int) -> list[tuple[int, bytes]]:
        """The first of `numbered`.

        Raises
        ------
        UsageError
            When there is none.
        """
        found = list(islice(self.numbered(), count))
        if not found:
            raise UsageError(f"ratings must have at least one line; {self._path.name} is empty. Check the path.")
        return found

    def chunks(self, after_line: int = 0) -> Iterator[tuple[int, bytes]]:
        """The number of its first line and the text of some lines, each ending in a newline, after the given line.

        Raises
        ------
        UsageError
            For a damaged compressed file, or one that is not text.
        """
        next_line = 1
        with self._open() as file:
            while text := self._read(file, next_line):
                count = text.count(b"\n")
                skipped = min(max(after_line - next_line + 1, 0), count)
                if skipped < count:
                    yield next_line + skipped, text.split(b"\n", skipped)[skipped]
                next_line += count

    def _open(self) -> IO[bytes]:
        opener: Callable[..., Any] = gzip.open if self._path.suffix == ".gz" else open
        return cast("IO[bytes]", opener(self._path, "rb"))

    def _read(self, file: IO[bytes], next_line: int) -> bytes:
        try:
            text = file.read(_CHUNK_BYTES)
            text += file.readline()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UsageError(
                f"a .gz file must be complete; got {self._path.name}: {error}. Compress it again."
            ) from None
        if b"\0" in text:
            line = next_line + text[: text.index(b"\0")].count(b"\n")
            raise UsageError(
                f"ratings must be UTF-8 text, .npz, .npy or .mtx; {self._path.name} has a zero byte in line {line}. "
                "Convert it."
            )
        if next_line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text and not text.endswith(b"\n"):
            text += b"\n"
        if b"\r" in text:
            text = re.sub(rb"\r+\n", b"\n", text)
        # looking costs a tenth of replacing, and hardly a file has such lines
        may_be_blank = text.startswith((b" ", b"\t")) or b"\n " in text or b"\n\t" in text
        return _BLANK.sub(b"", text) if may_be_blank else text


def one_byte(text: bytes, delimiter: bytes) -> tuple[bytes, bytes]:
    """The text with a delimiter of one byte, and that byte.

    Parameters
    ----------
    text
        Delimited text.
    delimiter
        One or more bytes.
    """
    if delimiter == WHITESPACE:
        text = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text)
        return re.sub(rb"[ \t]+", _STAND_IN, text), _STAND_IN
    if len(delimiter) > 1:
        return text.replace(delimiter, _STAND_IN), _STAND_IN
    return text, delimiter
