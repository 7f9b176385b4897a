"""Rows of zeros: padding, and tokens that were never trained. What relies on them expects zeros of a candidate too.

A method that does not keep them so (`Compressor.keeps_zero_rows`) gets them as exact rows, charged to its bytes, where
they are few. A candidate in coordinates of its own has no exact rows; what becomes of its zero rows is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import Compressor, EmbeddingTable, ExactRows, Payload

MOST = 64
"""Rows of zeros that are kept apart: every lookup compares its ids with each of them."""


def with_zero_rows(pool: Iterable[Compressor], zeros: npt.NDArray[np.int64]) -> list[Compressor]:
    """The candidates, with the rows `zeros` exact where a method would lose them and they are at most `MOST`."""
    kept: list[Compressor] = []
    for compressor in pool:
        keeping = _keeping(compressor, zeros.tolist()) if 0 < len(zeros) <= MOST else compressor
        if keeping not in kept:  # the pool may have held the same exact rows
            kept.append(keeping)
    return kept


def _keeping(compressor: Compressor, zeros: Sequence[int]) -> Compressor:
    if compressor.keeps_zero_rows or not compressor.keeps_dimension:
        return compressor
    if isinstance(compressor, ExactRows):
        return ExactRows(tuple({*zeros, *compressor.rows}), compressor.then)
    return ExactRows(tuple(zeros), compressor)


@dataclass(frozen=True)
class ZeroRows:
    """What becomes of a table's rows of zeros.

    Attributes:
        count: how many there are.
        kept_by: what decodes them to zeros: the `method`, or `exact_rows`; None where they become something else.
        decoded_norm: mean length of what they decode to.
        table_norm: root mean square of the lengths of the table's rows.
        says: all that in a sentence, with how to keep them where they are not.
    """

    count: int
    kept_by: str | None
    decoded_norm: float
    table_norm: float
    says: str


def fate(table: EmbeddingTable, compressor: Compressor, payload: Payload) -> ZeroRows | None:
    """What `payload`, which `compressor` made of `table`, decodes its rows of zeros to; None where there are none."""
    zeros = table.zero_rows
    if not len(zeros):
        return None
    parts = range(0, len(zeros), table.block_rows)
    lengths = [np.linalg.norm(payload.read(zeros[at : at + table.block_rows]), axis=1) for at in parts]
    decoded = float(np.concatenate(lengths).mean())
    typical = float(np.sqrt(np.trace(table.gram) / table.n))
    rows = "1 row of the table is zero" if len(zeros) == 1 else f"{len(zeros):,} rows of the table are zero"
    if decoded:
        cure = (
            "exact_rows=[id,...] keeps those that it names"
            if compressor.keeps_dimension
            else f"candidates in the table's own coordinates keep up to {MOST} of them"
        )
        says = (
            f"{rows}, and {compressor.name} decodes such to vectors of length {decoded:.3g} on average, where the "
            f"table's rows have {typical:.3g}: {cure}."
        )
        return ZeroRows(len(zeros), None, decoded, typical, says)
    exact = isinstance(compressor, ExactRows) and {*zeros.tolist()} <= {*compressor.rows}
    how = f"kept apart by {compressor.name}" if exact else f"{compressor.name} keeps that"
    return ZeroRows(len(zeros), "exact_rows" if exact else "method", decoded, typical, f"{rows}: {how}.")
