"""Bytes of a plain or packed file (gzip, bz2, xz, zstd, zip), read once, in blocks, with progress."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pyarrow as pa

from eigenselect.compressors.words import brief

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total); of a packed file these are its own, packed bytes."""

BLOCK_BYTES = 1 << 23
"""Size of one read. A reader's memory above its result is a small multiple of this."""

MAX_LINE_BYTES = 1 << 22
"""Longest text line tried, some hundred thousand numbers; a longer one means that the file is not lines of text."""

DEFLATE_LIMIT = 1032
"""Deflate expands by at most 1032 to 1: what bounds the content of a gzip file before it is read."""

BOM = b"\xef\xbb\xbf"


class Packing(NamedTuple):
    """A way to pack one file.

    Attributes:
        name: of the format.
        start: what its files begin with.
        open: a packed file -> its content.
        tool: the program that unpacks it.
    """

    name: str
    start: re.Pattern[bytes]
    open: Callable[[BufferedReader], Any]
    tool: str


def _zstd(raw: BufferedReader) -> BufferedReader:
    return BufferedReader(pa.CompressedInputStream(raw, "zstd"))


PACKINGS = (
    Packing("gzip", re.compile(rb"\x1f\x8b"), lambda raw: gzip.GzipFile(fileobj=raw), "gunzip"),
    Packing("bz2", re.compile(rb"BZh[1-9]1AY&SY"), bz2.BZ2File, "bunzip2"),
    Packing("xz", re.compile(rb"\xfd7zXZ\0"), lzma.LZMAFile, "unxz"),
    Packing("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), _zstd, "unzstd"),
)

ZIP_START = b"PK\x03\x04"
ZIP = Packing("zip", re.compile(ZIP_START), lambda raw: _only_member(raw), "unzip")
"""Of one file; an archive of several is no packed file, and neither are those that NumPy and torch write."""


def members(file: BufferedReader | Path) -> list[str]:
    """The names of the files in a zip archive; none in what is cut or none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [entry.filename for entry in archive.infolist() if entry.filename[-1:] not in ("", "/")]
    except Exception:  # of a damaged archive: there are many
        return []


def _only_member(raw: BufferedReader) -> Any:
    try:
        return zipfile.ZipFile(raw).open(members(raw)[0])
    except RuntimeError as error:  # a password is needed, or a method that is not known
        raise zipfile.BadZipFile(str(error)) from error


def packing_of(head: bytes) -> Packing | None:
    """How a file that starts with `head`, of 16 bytes or more, is packed; None if it is not."""
    return next((packing for packing in PACKINGS if packing.start.match(head)), None)


class Stream:
    """One pass over a file's bytes, decompressed.

    Attributes:
        path: the file.
        size: its bytes on disk.
        packing: how it is packed, or None.
        limit: bytes that the content can have at most; of packings that bound nothing, what gzip could hold.
    """

    closed = False  # what else pyarrow asks of a file

    def __init__(self, path: Path, raw: BufferedReader, progress: Progress | None = None) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw = raw
        self._progress = progress
        self._kept = b""
        head = raw.read(16)
        names = members(raw) if head.startswith(ZIP_START) else []
        self.packing = ZIP if len(names) == 1 and not names[0].endswith((".npy", ".pkl")) else packing_of(head)
        raw.seek(0)
        self._file = cast(BufferedReader, self.packing.open(raw)) if self.packing else raw
        self.limit = self.size * DEFLATE_LIMIT if self.packing else self.size

    @property
    def done(self) -> int:
        """Bytes of the file on disk that have been read."""
        return min(self._raw.tell(), self.size)

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end of the file."""
        kept, self._kept = self._kept[:count], self._kept[count:]
        return kept + self._file.read(count - len(kept)) if len(kept) < count else kept

    def line(self) -> bytes:
        """The next line with its newline; without one at the end of the file.

        Raises:
            ValueError: it is longer than `MAX_LINE_BYTES`.
        """
        start, end, rest = self._kept.partition(b"\n")
        self._kept = rest
        if end:
            return start + end
        line = start + self._file.readline(MAX_LINE_BYTES)
        if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
            raise self._endless()
        return line

    def _endless(self) -> ValueError:
        return ValueError(
            f"{self.path}: a line of more than {MAX_LINE_BYTES} bytes, which is the limit: this is not a text table; "
            "give its format"
        )

    def peek_line(self) -> bytes:
        """The next line as `line` gives it, left in place."""
        return self.peek_lines(1)[0]

    def peek_lines(self, most: int) -> list[bytes]:
        """The next lines, left in place: one, and more while they are within a block."""
        lines = [self.line()]
        while len(lines) < most and sum(map(len, lines)) < BLOCK_BYTES and (line := self.line()):
            lines.append(line)
        self._kept = b"".join(lines) + self._kept
        return lines

    def skip_bom(self) -> None:
        """Drop the UTF-8 byte order mark that some editors put before the first line."""
        if (start := self.read(len(BOM))) != BOM:
            self._kept = start + self._kept

    def blocks(self) -> Iterator[bytes]:
        """The rest of the file in pieces of about `BLOCK_BYTES`; progress is reported after each."""
        reported = 0
        while block := self.read(BLOCK_BYTES):
            yield block
            reported = self.report_progress()
        if self._progress is not None and reported < self.size:
            self._progress(self.size, self.size)

    def line_blocks(self) -> Iterator[tuple[bytearray, int]]:
        """The rest of the file in whole lines; only the very last may lack its newline.

        Yields:
            An array and how many bytes at its start are lines. The array is reused for the next ones.

        Raises:
            ValueError: a line is longer than `MAX_LINE_BYTES`.
        """
        buffer, held, reported = bytearray(BLOCK_BYTES), 0, 0
        while True:
            if held == len(buffer):
                if held >= MAX_LINE_BYTES:
                    raise self._endless()
                # A new array: a parser that gave up may still hold the old one for a moment.
                buffer = buffer + bytes(held)
            count = self._read_into(buffer, held)
            held += count
            cut = buffer.rfind(b"\n", held - count, held) + 1 if count else held
            if cut:
                yield buffer, cut
                reported = self.report_progress()
                buffer[: held - cut] = buffer[cut:held]
                held -= cut
            if not count:
                break
        if self._progress is not None and reported < self.size:
            self._progress(self.size, self.size)

    def _read_into(self, buffer: bytearray, at: int) -> int:
        """Fill `buffer` from `at` on; the bytes read, 0 at the end of the file."""
        with memoryview(buffer) as whole:
            kept, self._kept = self._kept[: len(whole) - at], self._kept[len(whole) - at :]
            whole[at : at + len(kept)] = kept
            return len(kept) + self._file.readinto(whole[at + len(kept) :])

    def reported(self, made: T) -> T:
        """What was made of the bytes so far, with progress reported."""
        self.report_progress()
        return made

    def report_progress(self) -> int:
        """Report the bytes done, if anybody asked; they are returned."""
        if self._progress is not None:
            self._progress(self.done, self.size)
        return self.done


@contextmanager
def open_stream(path: Path, progress: Progress | None = None) -> Iterator[Stream]:
    """A `Stream` over `path`; how it is packed is seen from the content.

    Raises:
        ValueError: inside the `with`, the packed data turn out truncated or corrupt.
    """
    with path.open("rb") as raw:
        name = "packed"
        try:
            stream = Stream(path, raw, progress)
            name = stream.packing.name if stream.packing else "unpacked"
            yield stream
        except EOFError as error:
            raise ValueError(f"{path}: the {name} data end too early: fetch the file again") from error
        except (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            # The system's errors have a number; those of gzip and bz2 data have none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{path}: corrupt {name} data ({brief(error)}): fetch the file again") from error
