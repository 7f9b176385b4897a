"""Which format a file is in: its content first, its extension second."""

from __future__ import annotations

import re
from pathlib import Path

from eigenselect.selector.sources.fields import BLANK, NO_TOKEN, SAMPLE_BYTES, is_number, is_row, lacks_token, shown
from eigenselect.selector.sources.formats import FORMATS
from eigenselect.selector.sources.formats.word2vec_text import HEADER
from eigenselect.selector.sources.stream import BOM, Packing, open_stream

HEAD_BYTES = 1 << 20

WIDE = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")
SAMPLE_LINES = 10


def head_of(path: Path) -> tuple[bytes, Packing | None]:
    """The first `HEAD_BYTES` of the content, and how the file is packed.

    Raises:
        ValueError: the packed data are truncated or corrupt.
    """
    with open_stream(path) as stream:
        return stream.read(HEAD_BYTES), stream.packing


def not_rows_of_text(head: bytes, given: str | None) -> str | None:
    """Why a file of text that starts with `head` is not read as a token and numbers a line, and what to do instead."""
    for encoding in WIDE:
        text = head[: min(SAMPLE_BYTES, len(head) // 4 * 4)].decode(encoding, "replace")
        if 2 * sum(character.isascii() and character.isprintable() for character in text) > len(text):
            return f"text in {encoding}: save it as UTF-8 (iconv -f {encoding} -t UTF-8)"
    lines = head.removeprefix(BOM).split(b"\n", SAMPLE_LINES)[:SAMPLE_LINES]
    lines = [line for line in lines if line.strip()]
    if given is None and lines and all(map(lacks_token, lines)):
        return f"line 1, {shown(lines[0])}, has {NO_TOKEN}; or, if its first number is the token, table.format=glove"
    return _wrong_separator(lines) or _odd_header(lines)


def _wrong_separator(lines: list[bytes]) -> str | None:
    """What stands between the numbers of all `lines`, after a header if there is one, but a single space or tab."""
    if lines and HEADER.fullmatch(lines[0] + b"\n"):
        lines = lines[1:]
    rows = lines[1:] or lines
    if not rows or any(map(is_row, lines)):
        return None
    for separator, name in ((b",", "commas"), (b";", "semicolons")):
        if all(is_row(row, separator) for row in rows):
            return f"{name} between the values, as in CSV: drop a line of rows and dimension, and give table.format=csv"
    if all(is_row(re.sub(b"  +", b" ", row)) for row in rows):
        return "several spaces between the values: leave one (tr -s ' ' <OLD >NEW)"
    return None


def _odd_header(lines: list[bytes]) -> str | None:
    """What is odd about a header that holds more than the rows and the dimension of the next line."""
    if len(lines) < 2 or HEADER.fullmatch(lines[0] + b"\n"):
        return None
    first, row = (re.split(rb"[ \t]+", line.strip(BLANK)) for line in lines[:2])
    declared = HEADER.fullmatch(b" ".join(first[:2]) + b"\n")
    if declared is None or len(first) >= len(row):
        return None
    n, d = int(declared[1]), int(declared[2])
    if not 0 < d < len(row) or not all(map(is_number, row[-d:])):
        return None
    header = f"{n} {d}"
    return f"line 1, {shown(lines[0])}, is a header with more in it than rows and dimension: make it {header!r}"


def format_of(path: Path, head: bytes) -> str | None:
    """Name of the format that a file starts with `head` in; None if it is none of them."""
    return next((format.name for format in FORMATS.values() if format.starts(path, head)), None)


def format_named(path: Path) -> str | None:
    """Name of the format that the name of a file is one of, whatever it holds."""
    return next((format.name for format in FORMATS.values() if format.files and path.match(format.files)), None)
