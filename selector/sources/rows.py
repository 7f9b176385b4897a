"""Which rows of a file make the table: tokens that occur twice, and the rows of those to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Floats

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
