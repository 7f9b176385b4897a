"""Which rows of a file make the table: tokens that occur twice, and the rows of those to keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import rows_array
from eigenselect.compressors.data.stored import Floats, StoredRows
from eigenselect.compressors.words import quoted
from eigenselect.selector.sources.stored_tokens import StoredTokens, gathered

NAMED = 5
"""Tokens that a message names."""

BLOCK_ROWS = 1 << 14


def repeated(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """(first row, later row) of each token that was seen before, in order of the later row."""
    if not (alike := _hashes_of_several(tokens)):
        return []
    seen: dict[str, int] = {}
    pairs = ((seen.setdefault(token, row), row) for row, token in enumerate(tokens) if hash(token) in alike)
    return [(first, row) for first, row in pairs if first != row]


def _hashes_of_several(tokens: Sequence[str]) -> set[int]:
    """What more than one token has as its hash: 8 bytes a token, in a file where they are many."""
    hashes, rest = rows_array((len(tokens),), np.int64), map(hash, tokens)
    for start in range(0, len(hashes), BLOCK_ROWS):
        some = hashes[start : start + BLOCK_ROWS]
        some[:] = np.fromiter(rest, np.int64, len(some))
    hashes.sort()
    found: set[int] = set()
    for start in range(1, len(hashes), BLOCK_ROWS):
        some = hashes[start : start + BLOCK_ROWS]
        found.update(some[some == hashes[start - 1 : start - 1 + len(some)]].tolist())
    return found


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
    wanted, row = set(kept), dict[str, int]()
    for place, token in enumerate(tokens):
        if token in wanted:
            row.setdefault(token, place)
    if absent := [token for token in kept if token not in row]:
        named = ", ".join(map(quoted, absent[:NAMED]))
        raise ValueError(
            f"table.keep has {len(absent)} of {len(kept)} tokens that the table lacks (first: {named}): "
            "drop them from the list"
        )
    return np.array([row[token] for token in kept], np.int64)


def padded(tokens: Sequence[str], n: int, padding: Literal["refuse", "keep"]) -> Sequence[str]:
    """The n tokens of a table whose list has another number of them.

    Raises:
        ValueError: there are more than n, or fewer and `padding` is not kept.
    """
    given = f"{len(tokens)} tokens for a table of {n} rows: one token a row is needed"
    if len(tokens) > n:
        raise ValueError(f"{given}; give the list of this very table, or drop the {len(tokens) - n} without a row")
    if padding == "refuse":
        raise ValueError(f"{given}; if the last {n - len(tokens)} rows are padding, table.padding=keep keeps them")
    return gathered(chain(tokens, islice(padding_names(tokens), n - len(tokens))))


def padding_names(tokens: Iterable[str]) -> Iterator[str]:
    """Tokens for rows without one, none of them among `tokens`: `<padding 0>`, `<padding 1>`, ..."""
    taken = {token for token in tokens if token.startswith("<padding ")}
    return (name for i in count() if (name := f"<padding {i}>") not in taken)


def without(tokens: Sequence[str], drop: Collection[int]) -> Sequence[str]:
    """`tokens` without those of the rows `drop`."""
    if isinstance(tokens, StoredTokens):
        return tokens.without(drop)
    return [token for row, token in enumerate(tokens) if row not in drop]


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
