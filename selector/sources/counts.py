"""Counts beside a table: how often each token occurs."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.words import quoted
from eigenselect.selector.sources.fields import BLANK, check_utf8, decode, is_number, shown
from eigenselect.selector.sources.stream import BOM
from eigenselect.selector.sources.tokens import token_of

Counts = npt.NDArray[np.float64] | dict[str, float]
"""As a file holds them: (lines,) float64 in row order, or by token."""

PAIR = re.compile(rb"(.*)[ \t]([^ \t]+)")
"""A token, which may hold separators itself, and its count."""


def read_counts(path: Path) -> Counts:
    """Read counts: one number a line, or a token and a number with one space or tab between, as the first line is.

    A token is written as in a token list (`selector.sources.tokens`).

    Raises:
        ValueError: a line of another form, a count that is not a finite number of at least 0, or a second count of
            one token; the line is named. Or text in UTF-16 or UTF-32.
    """
    content = path.read_bytes()
    check_utf8(path, content)
    body = content.removeprefix(BOM).rstrip(BLANK)
    lines = enumerate((line.rstrip(BLANK) for line in (io.BytesIO(body) if body else [b""])), 1)
    if PAIR.fullmatch(body.partition(b"\n")[0].rstrip(BLANK)):
        return _by_token(path, lines)
    return np.fromiter((_count(path, number, line) for number, line in lines), np.float64)


def _by_token(path: Path, lines: Iterable[tuple[int, bytes]]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for number, line in lines:
        pair = PAIR.fullmatch(line)
        if pair is None:
            raise _error(path, number, f"{shown(line)} is not a token and a count with a space or tab between")
        try:
            token = token_of(decode(pair[1]))
        except ValueError as error:
            raise _error(path, number, str(error)) from error
        if token in counts:
            raise _error(path, number, f"a second count of {shown(pair[1])}")
        counts[token] = _count(path, number, pair[2])
    return counts


def _count(path: Path, line: int, field: bytes) -> float:
    count = float(field) if is_number(field) else math.nan
    if not 0 <= count < math.inf:
        raise _error(path, line, f"count {shown(field)} is not a finite number of at least 0")
    return count


def _error(path: Path, line: int, what: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {what}; repair that line")


def counts_of_rows(counts: Counts, n: int, tokens: Sequence[str] | None) -> npt.NDArray[np.float64]:
    """The (n,) float64 counts of a table of n rows, 0 for a token without one.

    Raises:
        ValueError: another number of counts than rows, or counts by token of a table that has no tokens or
            none of these.
    """
    if not isinstance(counts, dict):
        if len(counts) != n:
            raise ValueError(
                f"table.counts has {len(counts)} lines for a table of {n} rows: one count a row is needed, "
                "or a token and its count a line"
            )
        return counts
    if tokens is None:
        raise ValueError(
            "table.counts names tokens for a table without tokens: give them as table.tokens, "
            "or one count a row in row order"
        )
    # Ignored one by one, but not all of them: that is another vocabulary, or another way to write it.
    if counts.keys().isdisjoint(tokens):
        raise ValueError(
            f"table.counts has {len(counts)} tokens, none of them in the table (first: {quoted(next(iter(counts)))}): "
            "give the counts of its tokens, with one space or tab after each"
        )
    return np.fromiter((counts.get(token, 0.0) for token in tokens), np.float64)
