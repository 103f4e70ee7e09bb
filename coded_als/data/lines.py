"""A text file, compressed or not, in UTF-8 or another encoding, as chunks of whole lines."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from coded_als.errors import UsageError, reason_of

WHITESPACE = b" "
_CHUNK_BYTES = 2**22
_STAND_IN = b"\x1f"  # fields are cut at one byte; this one separates units and is in no id
_BLANK = re.compile(rb"(?m)^[ \t]+$")
_LONE_RETURN = re.compile(rb"\r+(?!\r*\n)")
# the longer marks first: that of UTF-16 begins that of UTF-32
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh91AY&SY", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
COMPRESSED = tuple(_MAGIC)


def plain_name(name: str) -> str:
    """The name of a file in lower case, without the ending of its compression."""
    lower = name.lower()
    return next((lower.removesuffix(suffix) for suffix in COMPRESSED if lower.endswith(suffix)), lower)


class Lines:
    """The lines of a file. Line ends are made plain, and lines of white space empty; all keep their numbers.

    ``path``: a text; ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` are decompressed on the way; ``encoding``: of the text, such as
    ``latin-1``; by default UTF-8, or that of a byte order mark; ``quoted``: whether a line may end within quotes, where a
    field goes on in the next one; ``chunk_bytes``: how much is read at once.
    """

    def __init__(
        self, path: Path, encoding: str | None = None, *, quoted: bool = False, chunk_bytes: int | None = None
    ) -> None:
        self._path = path
        self._encoding = _known(encoding)
        self._quoted = quoted
        self._chunk_bytes = chunk_bytes or _CHUNK_BYTES

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Number, from 1, and text of every line that is not blank."""
        for first_line, text in self.chunks():
            for number, line in enumerate(io.BytesIO(text), first_line):
                if line != b"\n":
                    yield number, line[:-1]

    def chunks(self, after_line: int = 0) -> Iterator[tuple[int, bytes]]:
        """The number of its first line and the text of some lines, each ending in a newline, after the given line.

        Raises UsageError for a damaged compressed file, or one that is not text.
        """
        next_line = 1
        with closing(self._open()) as file:
            while text := self._read(file, next_line):
                count = text.count(b"\n")
                skipped = min(max(after_line - next_line + 1, 0), count)
                if skipped < count:
                    yield next_line + skipped, text.split(b"\n", skipped)[skipped] if skipped else text
                next_line += count

    def _open(self) -> IO[bytes]:
        file = _decompressed(self._path)
        start = self._guarded(lambda: file.peek(4)[:4], 1)
        encoding = self._encoding
        if encoding is None:
            encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        if encoding in ("utf-8", "utf-8-sig"):
            if start.startswith(codecs.BOM_UTF8):
                file.read(len(codecs.BOM_UTF8))
            return cast("IO[bytes]", file)
        return cast("IO[bytes]", io.BufferedReader(_recoded(file, encoding)))

    def _read(self, file: IO[bytes], next_line: int) -> bytes:
        text = self._guarded(lambda: _whole_lines(file, self._quoted, self._chunk_bytes), next_line)
        if b"\0" in text:
            line = next_line + text[: text.index(b"\0")].count(b"\n")
            raise UsageError(
                f"ratings must be text, .npz, .npy, .mtx or .parquet; {self._path.name} has a zero byte in line {line}. "
                "Convert it, or name the encoding of the text, as in --encoding utf-16-le."
            )
        if text and not text.endswith(b"\n"):
            text += b"\n"
        if b"\r" in text:
            text = self._with_plain_ends(text, next_line)
        # looking costs a tenth of replacing, and hardly a file has such lines
        may_be_blank = text.startswith((b" ", b"\t")) or b"\n " in text or b"\n\t" in text
        return _emptied(text) if may_be_blank else text

    def _with_plain_ends(self, text: bytes, next_line: int) -> bytes:
        """The text with one kind of line end outside of quotes."""
        if not self._quoted or b'"' not in text:
            plain = re.sub(rb"\r+\n", b"\n", text)
        else:
            characters = np.frombuffer(text, np.uint8)
            inside = np.bitwise_xor.accumulate(characters == ord('"'))
            before_end = (characters == ord("\r")) & ~inside
            ends = np.append(characters[1:], 0) == ord("\n")
            for _ in range(2):  # as many as two returns before a newline
                ends |= np.append((before_end & ends)[1:], False)
            plain = characters[~(before_end & ends)].tobytes()
        lone = next((found for found in _LONE_RETURN.finditer(plain) if not _within_quotes(plain, found.start())), None)
        if lone is not None:
            line = next_line + plain[: lone.start()].count(b"\n")
            raise UsageError(
                f"lines must end in \\n or \\r\\n; {self._path.name} has \\r alone in line {line}. Convert its line ends."
            )
        return plain

    def _guarded(self, read: Callable[[], bytes], next_line: int) -> bytes:
        """The result of reading, or the reason for which it is refused."""
        name = self._path.name
        try:
            return read()
        except UnicodeError as error:
            raise UsageError(
                f"{name} must be text in the encoding that is named or marked; after line {next_line - 1}: {error}. "
                "Name another --encoding."
            ) from None
        except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError, ValueError) as error:
            suffix = compression_of(self._path)
            if suffix is None:
                raise
            raise UsageError(
                f"a {suffix} file must be complete; got {name}: {reason_of(error)}. Compress it again."
            ) from None


class _Stream(io.RawIOBase):
    """A raw stream of the bytes that a function reads, at most so many at a time, until its source is closed with it."""

    def __init__(self, source: Any, take: Callable[[int], bytes]) -> None:
        self._source, self._take = source, take

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._take(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._source.close()
        super().close()


def _recoded(file: IO[bytes], encoding: str) -> _Stream:
    """Text of another encoding as UTF-8."""
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    return _Stream(text, lambda size: text.read(max(1, size // 4)).encode())


def _known(encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # some codecs are not of text
    except (LookupError, ValueError, TypeError):
        raise UsageError(f"the encoding must be one that Python knows, such as latin-1; got {encoding!a}.") from None
    return name


def compression_of(path: Path) -> str | None:
    """The ending of a compressed file, by its name or else by its first bytes; None for a plain one."""
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        return suffix
    with path.open("rb") as file:
        start = file.read(10)
    return next((ending for ending, magic in _MAGIC.items() if start.startswith(magic)), None)


def _decompressed(path: Path) -> io.BufferedReader:
    suffix = compression_of(path)
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zst}
    opener = openers.get(suffix or "", io.FileIO)
    return io.BufferedReader(opener(path, "rb"), 2**20)


def _open_zst(path: Path, mode: str) -> Any:
    """By the first of the libraries that is there: Python's own from 3.14 on."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        return zstd.open(path, mode)
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            f".zst files need Python 3.14 or pyarrow; got {path.name} without. Install it with: pip install "
            "'coded-als[parquet]', or compress it as .gz."
        ) from None
    stream = pa.input_stream(str(path), compression="zstd")
    return _Stream(stream, stream.read)


def _whole_lines(file: IO[bytes], quoted: bool, size: int) -> bytes:
    """Lines of about a chunk, the last one whole, and quotes closed."""
    text = file.read(size)
    text += file.readline()
    if not quoted or not text.count(b'"') % 2:
        return text
    pieces = [text]
    while line := file.readline():
        pieces.append(line)
        if line.count(b'"') % 2:
            break
    return b"".join(pieces)


def _emptied(text: bytes) -> bytes:
    if b'"' not in text:
        return _BLANK.sub(b"", text)
    return _BLANK.sub(lambda found: found.group() if _within_quotes(text, found.start()) else b"", text)


def _within_quotes(text: bytes, place: int) -> bool:
    return text.count(b'"', 0, place) % 2 == 1


def one_byte(text: bytes, delimiter: bytes) -> tuple[bytes, bytes]:
    """The text with a delimiter of one byte, and that byte; text in quotes stays as it is."""
    if len(delimiter) == 1 and delimiter != WHITESPACE:
        return text, delimiter
    if b'"' in text:
        return _one_byte_outside_quotes(text, delimiter), _STAND_IN
    if delimiter == WHITESPACE:
        text = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text)
        return re.sub(rb"[ \t]+", _STAND_IN, text), _STAND_IN
    return text.replace(delimiter, _STAND_IN), _STAND_IN


def _one_byte_outside_quotes(text: bytes, delimiter: bytes) -> bytes:
    pieces = text.split(b'"')
    for place in range(0, len(pieces), 2):
        piece = pieces[place]
        if delimiter == WHITESPACE:
            piece = re.sub(rb"[ \t]+", _STAND_IN, piece)
            piece = piece.replace(_STAND_IN + b"\n", b"\n").replace(b"\n" + _STAND_IN, b"\n")
            if place == 0:
                piece = piece.removeprefix(_STAND_IN)
        else:
            piece = piece.replace(delimiter, _STAND_IN)
        pieces[place] = piece
    return b'"'.join(pieces)
