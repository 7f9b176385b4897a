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

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import RowsTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Stacked
from eigenselect.compressors.settings import check_choice, check_number, check_then, shown


@dataclass(frozen=True)
class Bands(Compressor):
    """The most frequent rows by one method, the others by another one. Several bands are Bands as `tail`.

    Attributes:
        share: of the rows, ceil(share * n) of them but at least 1 and at most n - 1, that are compressed by `head`.
        head: compresses the frequent rows.
        tail: compresses the others.
        by: what says how frequent a row is: `order`, that of the table, most frequent first, or `counts`, those of
            the table. With counts a place for each row is stored, 4 bytes.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import Bands, EmbeddingTable, KMeans
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = Bands(0.1, KMeans(4), KMeans(1)).compress(table, np.random.default_rng(0))
        >>> [len(np.unique(payload.read(rows))) for rows in (slice(0, 10), slice(10, 100))]
        [16, 2]
    """

    share: float
    head: Compressor
    tail: Compressor
    by: Literal["order", "counts"] = "order"

    by_rows = True

    def __post_init__(self) -> None:
        check_number(self, "share", above=0, below=1)
        check_then(self, "head")
        check_then(self, "tail")
        check_choice(self, "by", ("order", "counts"))

    @property
    def name(self) -> str:  # noqa: D102
        by = "-counts" if self.by == "counts" else ""
        # Where a head of several methods ends could not be seen.
        head = f"({self.head.name})" if self.head.parts else self.head.name
        return f"bands{shown(self.share)}{by}-{head}-{self.tail.name}"

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
        ids: range | npt.NDArray[np.int64] = range(table.n)
        places = None
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
