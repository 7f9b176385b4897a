"""Parquet: a column of lists of numbers, or a column of numbers for each value; and, if there is one, one of tokens.

Format: https://parquet.apache.org, through pyarrow, a batch of rows at a time.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import parquet

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.columns import Columns
from eigenselect.selector.sources.format import Format, Found, Request

BATCH_ROWS = 1 << 14


def read(request: Request) -> Found:
    """Read a parquet file; `Request.tensor` names the column of lists where there are several.

    Raises:
        ValueError: not a whole file; no columns of numbers; a missing value.
    """
    try:
        with parquet.ParquetFile(request.path) as file:
            columns = Columns(request, file.schema_arrow)
            batches = file.iter_batches(BATCH_ROWS, columns=columns.names)
            return columns.read(batches, file.metadata.num_rows, request.rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        detail = brief(error)
        raise ValueError(f"{request.path}: not a whole parquet file ({detail}): write it again") from error


FORMAT = Format(
    name="parquet",
    starts=lambda path, head: head.startswith(b"PAR1") and head[4:5] not in b" \t",
    read=read,
    files="*.parquet",
    named=True,
)
