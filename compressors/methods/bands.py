"""Bands of rows: frequent tokens by one method, rare ones by a cheaper one.

Mixed precision by frequency: adaptive input embeddings give rare words fewer parameters (Baevski and Auli, ICLR 2019),
block-wise low-rank approximation likewise (Chen et al., NeurIPS 2018, GroupReduce). Here the bands differ in what each
entry takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor, check_aligned
from eigenselect.compressors.data.table import RowsTable, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Stacked


@dataclass(frozen=True)
class Bands(Compressor):
    """The most frequent rows by one method, the others by another one. Several bands are Bands as `tail`.

    Attributes:
        share: of the rows, ceil(share * n) of them but at least 1 and at most n - 1, that are compressed by `head`.
        head: compresses the frequent rows.
        tail: compresses the others.
        by: what tells how frequent a row is: `order`, that of the table, most frequent first, or `counts`, those of
            the table. With counts a place for each row is stored, 4 bytes.
    """

    share: float
    head: Compressor
    tail: Compressor
    by: Literal["order", "counts"] = "order"

    def __post_init__(self) -> None:
        check_aligned("Bands", "head", self.head)
        check_aligned("Bands", "tail", self.tail)
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share < 1:
            raise ValueError(f"Bands share = {self.share!r}: must be between 0 and 1, for example 0.1")
        if self.by not in ("order", "counts"):
            raise ValueError(f"Bands by = {self.by!r}: must be order or counts")

    @property
    def name(self) -> str:  # noqa: D102
        by = "-counts" if self.by == "counts" else ""
        return f"bands{self.share:g}{by}-{self.head.name}-{self.tail.name}"

    def split(self, n: int) -> int:
        """Rows of `n` that are compressed by `head`."""
        if n < 2:
            raise ValueError(f"Bands of a table of {n} row: there must be at least 2, one for each band")
        # Rounded first: 0.1 * 30 is a little more than 3.
        return min(max(1, math.ceil(round(self.share * n, 6))), n - 1)

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return self.head.keeps_zero_rows and self.tail.keeps_zero_rows

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        frequent = self.split(n)
        places = 4 * n if self.by == "counts" else 0
        return self.head.nbytes(frequent, d) + self.tail.nbytes(n - frequent, d) + places

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        ids, places = np.arange(table.n), None
        if self.by == "counts":
            ids = _by_counts(table)
            places = np.empty(table.n, dtype=np.int32)
            places[ids] = np.arange(table.n, dtype=np.int32)
        frequent = self.split(table.n)
        head = self.head.compress(RowsTable(table, ids[:frequent]), rng)
        tail = self.tail.compress(RowsTable(table, ids[frequent:]), rng)
        return Stacked((head, tail), places)


def _by_counts(table: Table) -> npt.NDArray[np.int64]:
    """The ids, most frequent first; of equal ones the first in the table first."""
    if table.counts is None:
        raise ValueError("Bands by counts of a table without counts: give them as table.counts=FILE, or use by: order")
    return np.argsort(-table.counts, kind="stable")
