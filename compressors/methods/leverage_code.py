"""Trellis codes with more bits for rows of high leverage.

A row's leverage, xᵢ (XᵀX)⁻¹ xᵢᵀ, is what an error of it, relative to its length, costs in eigenspace overlap. With
leverages l the best bits of a row are those of reverse water-filling, log2(l / θ) / 2 an entry (Cover and Thomas,
§10.3.3); two sizes take most of what that brings. Ours; leverage scores: Drineas et al., JMLR 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import RowsTable
from eigenselect.compressors.methods.trellis_code import TrellisCode
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Interleaved
from eigenselect.compressors.settings import check_count, check_number, shown

AT_ONCE = 1 << 20
"""Rows whose leverages are looked at together."""


@dataclass(frozen=True)
class LeverageCode(Compressor):
    """Trellis codes of two sizes, the larger one for the rows of the highest leverage.

    Which rows these are takes 8.5 bits a row. Leverages differ where some rows are far longer than others, or nearly
    zero; where they do not, `TrellisCode` is better. A lookup decodes both codes.

    Attributes:
        row: bytes of a row of the smaller size, at most the table's columns.
        share: of the rows, ceil(share * n) of them, that are of the larger size.
        more: bits an entry that these have more, as far as the table's columns allow.
        window: bits that pick a value, from 8 to 16.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, LeverageCode
        >>> vectors = np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32)
        >>> vectors[:20] *= 10
        >>> code = LeverageCode(row=4, share=0.2, window=8)
        >>> payload = code.compress(EmbeddingTable(vectors), np.random.default_rng(0))
        >>> payload.nbytes, [part.n for part in payload.parts]
        (2892, [80, 20])
    """

    row: int
    share: float = 0.25
    more: float = 1
    window: int = 10

    effort = TrellisCode.effort
    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "row")
        check_number(self, "share", above=0, below=1)
        check_number(self, "more", above=0, most=8)
        check_count(self, "window", 8, 16)

    @property
    def name(self) -> str:  # noqa: D102
        return f"leverage{shown(self.share)}+{shown(self.more)}-trellis{self.window}-row{self.row}"

    def split(self, n: int) -> int:
        """Rows of `n` that are of the larger size."""
        if n < 2:
            raise ValueError(f"LeverageCode of a table of {n} row: there must be at least 2, one of each size")
        return min(max(1, math.ceil(round(self.share * n, 6))), n - 1)  # rounded: 0.1 * 30 is a little more than 3

    def codes(self, d: int) -> tuple[TrellisCode, TrellisCode]:
        """The smaller one, and the larger one."""
        if self.row > d:
            raise ValueError(f"LeverageCode row = {self.row} for {d} columns: must be at most {d}, 8 bits each")
        large = min(d, self.row + max(1, round(self.more * d / 8)))
        return TrellisCode(row=self.row, window=self.window), TrellisCode(row=large, window=self.window)

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        rows = n - self.split(n), self.split(n)
        codes = sum(code.nbytes(count, d) for code, count in zip(self.codes(d), rows, strict=True))
        return codes + n + 8 * -(-n // Interleaved.BLOCK)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        count = self.split(table.n)
        high = _highest(table.leverage, count)
        small, large = self.codes(table.d)
        low = small.compress(RowsTable(table, _ids(high, False, table.n - count)), rng)
        return Interleaved.of(low, large.compress(RowsTable(table, _ids(high, True, count)), rng), high)


def _highest(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    """(n,) whether each is among the `count` highest; of equal ones the first are."""
    ordered, high = rows_array(values.shape, values.dtype), rows_array(values.shape, np.bool_)
    for rows in _spans(len(values)):
        ordered[rows] = values[rows]
        give_back(values)
    ordered.partition(len(values) - count)
    least = ordered[-count]
    left = count - np.count_nonzero(ordered[-count:] > least)
    give_back(ordered)
    for rows in _spans(len(values)):
        some = values[rows]
        equal = np.flatnonzero(some == least)[:left]
        high[rows] = some > least
        high[rows][equal] = True
        left -= len(equal)
        give_back(values, high)
    return high


def _ids(flags: npt.NDArray[np.bool_], wanted: bool, count: int) -> npt.NDArray[np.int64]:
    """(count,) increasing ids of the rows with the wanted flag."""
    found, at = rows_array((count,), np.int64), 0
    for rows in _spans(len(flags)):
        some = np.flatnonzero(flags[rows] == wanted)
        found[at : at + len(some)] = rows.start + some
        at += len(some)
        give_back(flags, found)
    return found


def _spans(n: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE))
