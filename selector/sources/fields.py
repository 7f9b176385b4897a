"""The fields of a line of text: separators, numbers, tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from eigenselect.compressors.words import quoted

CSV_BLOCK_BYTES = 1 << 21
"""What one thread of the CSV parser takes at a time."""

BLANK = b" \t\r\n"

CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")

SAMPLE_BYTES = 1 << 12
"""What is looked at to see whether content is text."""

NUMBER = re.compile(rb"[ \t]*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)[ \t]*", re.IGNORECASE)


def is_number(field: bytes) -> bool:
    """Whether the CSV parser reads `field` as a float."""
    return NUMBER.fullmatch(field) is not None


def is_text(content: bytes) -> bool:
    """Whether the start of `content` is UTF-8 without control characters, as hardly any floats are."""
    sample = content[:SAMPLE_BYTES]
    return not CONTROL.search(sample) and "\ufffd" not in sample.decode("utf-8", "replace").rstrip("\ufffd")


def shown(field: bytes) -> str:
    """`field` for a message: one line, at most 40 bytes of it."""
    text = quoted(decode(field[:40]))
    return text if len(field) <= 40 else f"{text}..."


def decode(token: bytes) -> str:
    r"""The token as text; a byte that is not UTF-8 becomes `\xNN`, so that none is lost in silence."""
    return token.decode("utf-8", "backslashreplace")


NO_TOKEN = (
    "numbers and no token: save them with numpy.save(new, numpy.loadtxt(old, dtype='float32')) and give the .npy file, "
    "with the tokens, if there are any, as table.tokens"
)


def check_utf8(path: Path, content: bytes, *, first: bool = True) -> None:
    """Raise a ValueError if `content` holds what UTF-16 and UTF-32 have and text in UTF-8 has not: a NUL, their marks.

    A token list may hold a NUL as `selector.sources.tokens` says. Marks are of the `first` bytes of a file.
    """
    if b"\0" in content or (first and content.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise ValueError(
            f"{path}: it is not UTF-8 but holds NUL bytes or a mark of UTF-16, as in UTF-16 or UTF-32: "
            "save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
        )


def delimiter_of(line: bytes) -> bytes:
    """The separator of a row: a space, or a tab where there is no space at all."""
    line = line.rstrip(BLANK)
    return b"\t" if b"\t" in line and b" " not in line else b" "


def tab_ends_token(line: bytes) -> bool:
    """Whether a row has a tab after its token, and spaces between its values: two numbers or more."""
    _, tab, values = line.rstrip(BLANK).rpartition(b"\t")
    fields = values.strip(b" ").split(b" ")
    return bool(tab) and len(fields) > 1 and all(map(is_number, fields))


def is_row(line: bytes, separator: bytes | None = None) -> bool:
    """Whether a line looks like a token and numbers: its last field is one, or more than half of them are.

    One bad value does not turn text into something else: the reader then names the line. The separator is that of
    `delimiter_of` unless it is given.
    """
    line = line.rstrip(BLANK)
    fields = line.split(separator or delimiter_of(line))[1:]
    return 2 * sum(map(is_number, fields)) > len(fields)


def lacks_token(line: bytes) -> bool:
    """Whether all fields of a row are numbers, and the first is one that no word or id looks like: -1, 0.5 or 1e-3."""
    fields = line.split()
    return bool(fields) and all(map(is_number, fields)) and not fields[0].isalnum()


def parse(body: bytes | memoryview, delimiter: bytes, types: dict[str, Any], longest: int) -> Any:
    """The Arrow table, with columns of `types`, of the lines of `body`.

    Raises:
        pyarrow.ArrowInvalid: a line has another number of fields or more than `longest` bytes, or a field
            is not a number.
    """
    return csv.read_csv(
        pa.BufferReader(body),
        read_options=csv.ReadOptions(column_names=list(types), block_size=max(CSV_BLOCK_BYTES, longest)),
        parse_options=csv.ParseOptions(
            delimiter=delimiter.decode(),
            quote_char=False,
            double_quote=False,
            escape_char=False,
            ignore_empty_lines=False,
        ),
        convert_options=csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
    )


def floats(column: Any) -> npt.NDArray[np.float32]:
    """The values of a float32 Arrow array without nulls; its own `to_numpy` would import pandas for it."""
    return np.frombuffer(column.buffers()[1], np.float32, len(column), 4 * column.offset)
