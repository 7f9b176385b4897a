"""Exact rows: a table by any method, with the rows that must not suffer kept in float16 beside it.

Padding and other special tokens, or those that a task turns on, are few and cost next to nothing. Mixed precision with
what matters kept wide is known from outliers (Dettmers et al., NeurIPS 2022).
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field

import numpy as np

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.methods.byte_codebook import ByteCodebook
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Replaced
from eigenselect.compressors.settings import check_then, refuse

NAMED = 4
"""Rows up to which a name lists them; beyond, it has their number and a digest."""

LARGEST = float(np.finfo(np.float16).max)


def exact_nbytes(count: int, d: int) -> int:
    """Bytes of `count` rows of d columns and of their ids."""
    return count * (4 + 2 * d)


@dataclass(frozen=True)
class ExactRows(Compressor):
    """The table by another method, but the listed rows in float16.

    Attributes:
        rows: ids from 0 on, each once; kept in increasing order.
        then: what compresses the table, those rows included.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, ExactRows, KMeans
        >>> table = EmbeddingTable(np.float32([[0, 0], [3, 4], [5, 6]]))
        >>> ExactRows((0,), KMeans(1)).compress(table, np.random.default_rng(0)).read(slice(0, 3))
        array([[0. , 0. ],
               [4.5, 4.5],
               [4.5, 4.5]], dtype=float32)
    """

    rows: tuple[int, ...]
    then: Compressor = field(default_factory=lambda: ByteCodebook(2))

    by_rows = True

    def __post_init__(self) -> None:
        if not isinstance(self.rows, tuple | list) or not self.rows:
            refuse(self, "rows", "a list of at least one id", "in a pool [[0, 1]]")
        for row in self.rows:
            if isinstance(row, bool) or not isinstance(row, int) or row < 0:
                raise ValueError(f"ExactRows rows hold {row!r}: each must be an id, an integer of at least 0")
        rows = tuple(sorted(self.rows))
        if twice := [row for row, following in itertools.pairwise(rows) if row == following]:
            raise ValueError(f"ExactRows rows hold {twice[0]} more than once: name each id once")
        object.__setattr__(self, "rows", rows)
        check_then(self)

    @property
    def name(self) -> str:  # noqa: D102
        ids = "+".join(map(str, self.rows))
        if len(self.rows) > NAMED:
            ids = f"{len(self.rows)}rows-{hashlib.sha256(ids.encode()).hexdigest()[:8]}"
        return f"exact{ids}-{self.then.name}"

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return self.then.keeps_zero_rows

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        if self.rows[-1] >= n:
            raise ValueError(f"ExactRows rows hold {self.rows[-1]}: the table's ids go from 0 to {n - 1}")
        return self.then.nbytes(n, d) + exact_nbytes(len(self.rows), d)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        rows = np.array(self.rows, dtype=np.int32)
        exact = table.read(rows)
        beyond = np.abs(exact).max(axis=1) > LARGEST
        if beyond.any():
            row = int(beyond.argmax())
            raise ValueError(
                f"row {rows[row]} has an entry of {np.abs(exact[row]).max():g}, float16 holds up to {LARGEST:g}: "
                "leave it out of the exact rows, or scale the table down"
            )
        return Replaced(self.then.compress(table, rng), rows, exact.astype(np.float16))
