"""Views of a table: what is made of its rows, block by block, as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.stored import picked
from eigenselect.compressors.data.table import Floats, Rows, Table
from eigenselect.compressors.device import product


@dataclass(frozen=True, eq=False)
class View(Table):
    """What is made of the rows of another table, computed block by block and never stored.

    Its rows, columns, counts and leverages are those of the source unless said otherwise. So are its blocks: the source
    may be the wider one, and a float16 block of it is widened for arithmetic.

    Attributes:
        source: an (n, d) table.
    """

    source: Table

    @property
    def n(self) -> int:  # noqa: D102
        return self.source.n

    @property
    def d(self) -> int:  # noqa: D102
        return self.source.d

    @property
    def counts(self) -> npt.NDArray[np.float64] | None:  # noqa: D102
        return self.source.counts

    @property
    def leverage(self) -> npt.NDArray[np.float64]:
        """(n,) float64, of the rows of the source."""
        return self.source.leverage

    @property
    def block_rows(self) -> int:  # noqa: D102
        return self.source.block_rows


@dataclass(frozen=True, eq=False)
class ProjectedTable(View):
    """The (n, k) table `source @ matrix`.

    Attributes:
        matrix: (d, k) float32.
    """

    matrix: npt.NDArray[np.float32]

    @property
    def d(self) -> int:  # noqa: D102
        return int(self.matrix.shape[1])

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        return product(self.source.read(rows).astype(np.float32, copy=False), self.matrix)


def projected(source: Table, matrix: npt.NDArray[np.float32]) -> ProjectedTable:
    """The product, which all that ask for it share with what they ask of it: its histogram, its largest entry."""
    digest = hashlib.sha256(np.ascontiguousarray(matrix).data).digest()
    return source.shared(("projected", matrix.shape, digest), lambda: ProjectedTable(source, matrix))


@dataclass(frozen=True, eq=False)
class RemainderTable(View):
    """What an approximation leaves of `source`.

    Attributes:
        approximation: rows -> (len, d) float32.
    """

    approximation: Callable[[Rows], npt.NDArray[np.float32]]

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        return self.source.read(rows).astype(np.float32, copy=False) - self.approximation(rows)


@dataclass(frozen=True, eq=False)
class RowsTable(View):
    """Some rows of `source`. There may be fewer of them than columns.

    Attributes:
        rows: (m,) ids, or consecutive ones, m >= 1.
    """

    rows: range | npt.NDArray[np.integer]

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.rows)

    @property
    def counts(self) -> npt.NDArray[np.float64] | None:  # noqa: D102
        counts = self.source.counts
        return None if counts is None else counts[picked(self.rows, slice(None))]

    @property
    def leverage(self) -> npt.NDArray[np.float64]:
        """(m,) float64, of these rows in the source."""
        leverage: npt.NDArray[np.float64] = self.source.leverage[self.rows]
        return leverage

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        return self.source.read(picked(self.rows, rows))


@dataclass(frozen=True, eq=False)
class ScaledTable(View):
    """`source / unit`, float32. Sums of squares of entries of 1e30 overflow float32, and those of 1e-30 vanish.

    Attributes:
        unit: float32, above 0.
    """

    unit: np.float32

    @classmethod
    def by_largest(cls, source: Table) -> ScaledTable:
        """In units of the largest absolute entry, so that entries are from -1 to 1; a table of zeros stays as it is."""
        return cls(source, np.float32(source.abs_max or 1.0))

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        return self.source.read(rows).astype(np.float32, copy=False) / self.unit

    def read_wide(self, rows: Rows) -> npt.NDArray[np.float64]:
        """As `read`, divided in float64."""
        return self.source.read(rows).astype(np.float64) / float(self.unit)
