"""A given table: rows of another dimension that exist already, of the same vocabulary, as a candidate.

Models published at several sizes and tables that were reduced elsewhere are compared like any other candidate (May et
al., NeurIPS 2019, App. D.3, train tables of lower dimension).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import EmbeddingTable, Table
from eigenselect.compressors.data.views import RowsTable
from eigenselect.compressors.methods.identity import Identity
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Unaligned
from eigenselect.compressors.settings import check_then, refuse


@dataclass(frozen=True)
class Given(Compressor):
    """The rows of a ready table, matched by token, compressed by another method. What is compressed is not looked at.

    Attributes:
        label: names the candidate; another table needs another label.
        table: an (m, k) table with tokens, k at most d; tokens beyond those of the compressed table are ignored.
        then: what compresses the (n, k) rows; float32 unless given.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, Given
        >>> table = EmbeddingTable(np.float32([[1, 2], [3, 4], [5, 6]]), ["a", "b", "c"])
        >>> smaller = EmbeddingTable(np.float32([[30], [20], [10]]), ["c", "b", "a"])
        >>> Given("small", smaller).compress(table, np.random.default_rng(0)).read(slice(0, 3))
        array([[10.],
               [20.],
               [30.]], dtype=float32)
    """

    label: str
    table: EmbeddingTable
    then: Compressor = field(default_factory=Identity)

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label:
            refuse(self, "label", "a word that names the candidate")
        if not isinstance(self.table, EmbeddingTable):
            refuse(self, "table", "an embedding table")
        check_then(self)
        if self.table.tokens is None:
            raise ValueError(f"Given {self.label}: its table has no tokens to match rows by: give them as its tokens")

    @property
    def name(self) -> str:  # noqa: D102
        then = "" if self.then == Identity() else f"-{self.then.name}"
        return f"given-{self.label}{then}"

    @property
    def keeps_dimension(self) -> bool:  # noqa: D102
        return False

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        if self.table.d > d:
            raise ValueError(
                f"Given {self.label}: its table has {self.table.d} columns, the table to compress {d}: "
                "give one of as many or fewer"
            )
        return self.then.nbytes(n, self.table.d)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        if table.tokens is None:
            raise ValueError(
                f"Given {self.label}: the table to compress has no tokens to match rows by: "
                "give them as table.tokens=FILE"
            )
        return Unaligned(self.then.compress(RowsTable(self.table, self._rows(table.tokens)), rng))

    def _rows(self, tokens: Sequence[str]) -> np.ndarray:
        row_of = {token: row for row, token in enumerate(self.table.tokens or ())}
        if missing := [token for token in tokens if token not in row_of]:
            first = ", ".join(map(repr, missing[:5]))
            raise ValueError(
                f"Given {self.label}: its table lacks {len(missing)} of {len(tokens)} tokens (first: {first}): "
                "give one of the whole vocabulary, or drop them with table.keep"
            )
        return np.array([row_of[token] for token in tokens])
