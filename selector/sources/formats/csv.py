"""CSV: a token and its numbers a line, commas or semicolons between; plain or packed. A line of names may come first.

A field may be in quotes (RFC 4180). Through pyarrow, a block of lines at a time.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.columns import Columns
from eigenselect.selector.sources.fields import BLANK, CSV_BLOCK_BYTES, decode, is_number, is_row, lacks_token
from eigenselect.selector.sources.format import Format, Found, Request
from eigenselect.selector.sources.stream import BOM, open_stream

SEPARATORS = (b",", b";")

SAMPLED_LINES = 10


def read(request: Request) -> Found:
    """Read a CSV table as float32. The first column is the token, unless all of a line are numbers and it is no id.

    Raises:
        ValueError: a line has another number of fields, or one that is not a number.
    """
    with open_stream(request.path, request.progress) as stream:
        stream.skip_bom()
        lines = stream.peek_lines(2)
        separator = _separator(lines) or b","
        first = [field.strip(BLANK) for field in lines[0].split(separator)]
        names = [str(i) for i in range(len(first))]
        named = len(lines) > 1 and (not is_row(lines[0], separator) or [b"", *first[1:]] == _numbered(first))
        bare = lacks_token(lines[-1].replace(separator, b" "))
        types = dict.fromkeys(names, pa.float32()) | ({} if bare else {"0": pa.string()})
        try:
            reader = csv.open_csv(
                stream,
                read_options=csv.ReadOptions(
                    column_names=names,
                    skip_rows=int(named),
                    block_size=max(CSV_BLOCK_BYTES, 64 * len(lines[0])),
                ),
                parse_options=csv.ParseOptions(delimiter=decode(separator)),
                convert_options=csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
            )
            return Columns(request, reader.schema).read(map(stream.reported, reader), None, request.rows)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            detail = brief(error)
            raise ValueError(f"{request.path}: {detail}; repair or drop that line") from error


def _numbered(first: list[bytes]) -> list[bytes]:
    """The names that pandas gives to an index and columns that have none."""
    return [b"", *(b"%d" % i for i in range(len(first) - 1))]


def _separator(lines: list[bytes]) -> bytes | None:
    """What stands between the fields of all lines; after the first of most rows they are numbers, as in no JSON."""
    rows = lines[1:] or lines
    for separator in SEPARATORS:
        whole = sum(all(map(is_number, row.rstrip(BLANK).split(separator)[1:])) for row in rows)
        if all(separator in line for line in lines) and 2 * whole >= len(rows):
            return separator
    return None


def _starts(path: Path, head: bytes) -> bool:
    lines = head.removeprefix(BOM).split(b"\n", SAMPLED_LINES)[:SAMPLED_LINES]
    lines = [line for line in lines if line.strip()]
    return b"\0" not in head[:64] and not is_row(lines[0] if lines else b"") and _separator(lines) is not None


FORMAT = Format(name="csv", starts=_starts, read=read, own_tokens=True, packed=True)
