"""Arrow and feather files: a column of lists of numbers, or a column of numbers for each value; and one of tokens.

Format: https://arrow.apache.org/docs/format/Columnar.html, files and streams, and feather version 1; through pyarrow.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import feather, ipc

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.columns import Columns
from eigenselect.selector.sources.format import Format, Found, Request

FILE, STREAM, FEATHER_1 = b"ARROW1\0\0", b"\xff\xff\xff\xff", b"FEA1\0\0"


def read(request: Request) -> Found:
    """Read an Arrow or feather file; `Request.tensor` names the column of lists where there are several.

    Raises:
        ValueError: not a whole file; no columns of numbers; a missing value.
    """
    try:
        with pa.memory_map(str(request.path)) as file:
            start = file.read(8)
            file.seek(0)
            if start.startswith(FEATHER_1):
                table = feather.read_table(request.path)
                return Columns(request, table.schema).read(table.to_batches(), len(table), request.rows)
            if start == FILE:
                reader = ipc.open_file(file)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                return Columns(request, reader.schema).read(batches, None, request.rows)
            reader = ipc.open_stream(file)
            return Columns(request, reader.schema).read(reader, None, request.rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        detail = brief(error)
        raise ValueError(f"{request.path}: not a whole Arrow file ({detail}): write it again") from error


def _starts(path: Path, head: bytes) -> bool:
    return head.startswith((FILE, FEATHER_1)) or (head.startswith(STREAM) and b"\0" in head[4:8])


FORMAT = Format(name="arrow", starts=_starts, read=read, named=True)
