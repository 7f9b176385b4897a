"""Which rows of a file make the table: tokens that occur twice, and the rows of those to keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.stored import Floats, StoredRows
from eigenselect.compressors.words import quoted

NAMED = 5
"""Tokens that a message names."""

BLOCK_ROWS = 1 << 14


def repeated(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """(first row, later row) of each token that was seen before, in order of the later row."""
    if len(set(tokens)) == len(tokens):
        return []
    seen: dict[str, int] = {}
    pairs = ((seen.setdefault(token, row), row) for row, token in enumerate(tokens))
    return [(first, row) for first, row in pairs if first != row]


def duplicates_message(tokens: Sequence[str], pairs: Sequence[tuple[int, int]], cure: str) -> str:
    """What is repeated where, and the cure."""
    named = ", ".join(f"{quoted(tokens[row])} at rows {first} and {row}" for first, row in pairs[:NAMED])
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
        named = ", ".join(map(quoted, absent[:NAMED]))
        raise ValueError(
            f"table.keep has {len(absent)} of {len(kept)} tokens that the table lacks (first: {named}): "
            "drop them from the list"
        )
    return np.array([row[token] for token in kept], np.int64)


def padded(tokens: Sequence[str], n: int, padding: Literal["refuse", "keep"]) -> list[str]:
    """The n tokens of a table whose list has another number of them.

    Raises:
        ValueError: there are more than n, or fewer and `padding` is not kept.
    """
    given = f"{len(tokens)} tokens for a table of {n} rows: one token a row is needed"
    if len(tokens) > n:
        raise ValueError(f"{given}; give the list of this very table, or drop the {len(tokens) - n} without a row")
    if padding == "refuse":
        raise ValueError(f"{given}; if the last {n - len(tokens)} rows are padding, table.padding=keep keeps them")
    return [*tokens, *islice(padding_names(tokens), n - len(tokens))]


def padding_names(tokens: Iterable[str]) -> Iterator[str]:
    """Tokens for rows without one, none of them among `tokens`: `<padding 0>`, `<padding 1>`, ..."""
    taken = set(tokens)
    return (name for i in count() if (name := f"<padding {i}>") not in taken)


def without_rows(vectors: Floats | StoredRows, drop: Sequence[int]) -> Floats | StoredRows:
    """`vectors` without the rows `drop`; compacted in place in memory, copied from a read-only map."""
    keep = np.ones(len(vectors), bool)
    keep[list(drop)] = False
    if isinstance(vectors, StoredRows):
        return vectors.only(np.flatnonzero(keep))
    if not vectors.flags.writeable or not vectors.flags.owndata:
        return np.array(vectors[keep])
    at = 0
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = vectors[start : start + BLOCK_ROWS][keep[start : start + BLOCK_ROWS]]
        vectors[at : at + len(part)] = part
        at += len(part)
    vectors.resize((at, vectors.shape[1]), refcheck=False)
    return vectors
