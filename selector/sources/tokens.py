"""Token lists beside a table, tokens that occur twice, and the rows of those to keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from eigenselect.compressors.data.table import Floats
from eigenselect.selector.sources.fields import decode
from eigenselect.selector.sources.stream import BOM

COLUMNS = ("token", "word", "index")
NAMED = 5
BLOCK_ROWS = 1 << 14


def read_tokens(path: Path) -> list[str]:
    r"""Read one token for each row of a table, in row order.

    Args:
        path: a `.txt` file, UTF-8, one token a line (only `\n` and `\r\n` end a line; a byte that is not
            UTF-8 appears as `\xNN`); or a `.parquet` file: its only string column, or the one named token,
            word or index.

    Raises:
        ValueError: another kind of file, not a parquet file, no one column to take, or a null token.
    """
    if path.suffix == ".txt":
        lines = path.read_bytes().removeprefix(BOM).split(b"\n")
        if not lines[-1]:
            lines.pop()
        return [decode(line.removesuffix(b"\r")) for line in lines]
    if path.suffix == ".parquet":
        return _column(path)
    raise ValueError(f"{path}: a token list is a .txt file with one token a line, or a .parquet file")


def _column(path: Path) -> list[str]:
    try:
        schema = parquet.read_schema(path)
        strings = [f.name for f in schema if _is_string(f.type)]
        named = [name for name in COLUMNS if name in strings]
        chosen = strings if len(strings) == 1 else named
        if len(chosen) != 1:
            columns = ", ".join(f"{f.name!r} {f.type}" for f in schema)
            raise ValueError(
                f"{path}: {len(chosen or strings) or 'no'} columns could hold the tokens; keep one string "
                f"column, or name one of them token, word or index; columns: {columns}"
            )
        tokens: list[str | None] = parquet.read_table(path, columns=chosen).column(0).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(f"{path}: not a whole parquet file ({' '.join(str(error).split())}): write it anew") from error
    if None in tokens:
        raise ValueError(f"{path}: no token at row {tokens.index(None)} of column {chosen[0]!r}: fill it in")
    return [token for token in tokens if token is not None]


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def repeated(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """(first row, later row) of each token that was seen before, in order of the later row."""
    if len(set(tokens)) == len(tokens):
        return []
    seen: dict[str, int] = {}
    pairs = ((seen.setdefault(token, row), row) for row, token in enumerate(tokens))
    return [(first, row) for first, row in pairs if first != row]


def duplicates_message(tokens: Sequence[str], pairs: Sequence[tuple[int, int]], cure: str) -> str:
    """What is repeated where, and the cure."""
    named = ", ".join(f"{tokens[row]!r} at rows {first} and {row}" for first, row in pairs[:NAMED])
    return f"{len(pairs)} duplicate token{'s' if len(pairs) > 1 else ''} (first: {named}): {cure}"


def rows_of(kept: Sequence[str], tokens: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """The first row of each token of the list `kept` in a table of `tokens`, (len(kept),) int64.

    Raises:
        ValueError: the table has no tokens, it lacks some of the list, or the list names one twice.
    """
    if tokens is None:
        raise ValueError("table.keep is given for a table without tokens: give them as table.tokens")
    if pairs := repeated(kept):
        raise ValueError(f"table.keep has {duplicates_message(kept, pairs, 'name each once in the list')}")
    # From the end on, so that of a token's rows the first one stays.
    row = dict(zip(reversed(tokens), range(len(tokens) - 1, -1, -1), strict=True))
    if absent := [token for token in kept if token not in row]:
        named = ", ".join(map(repr, absent[:NAMED]))
        raise ValueError(
            f"table.keep has {len(absent)} of {len(kept)} tokens that the table lacks (first: {named}): "
            "drop them from the list"
        )
    return np.array([row[token] for token in kept], np.int64)


def without_rows(vectors: Floats, drop: Sequence[int]) -> Floats:
    """`vectors` without the rows `drop`; compacted in place in memory, copied from a read-only map."""
    keep = np.ones(len(vectors), bool)
    keep[list(drop)] = False
    if not vectors.flags.writeable or not vectors.flags.owndata:
        return np.array(vectors[keep])
    at = 0
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = vectors[start : start + BLOCK_ROWS][keep[start : start + BLOCK_ROWS]]
        vectors[at : at + len(part)] = part
        at += len(part)
    vectors.resize((at, vectors.shape[1]), refcheck=False)
    return vectors
