"""A learned codebook of 256 codewords of 8 / bits values: one byte of a row picks several values at once.

Vector quantization by k-means (Lloyd 1982; Linde, Buzo and Gray 1980) with one codebook for all pieces of all rows.
Ours is only the size: with 256 codewords the packed rows, the decode and the operator are those of scalar codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.lloyd import learn, nearest
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.settings import check_choice

Float32s = npt.NDArray[np.float32]

SAMPLE = 1 << 17
"""Pieces that the codebook is learned from: 512 for each codeword."""


@dataclass(frozen=True)
class ByteCodebook(Compressor):
    """256 learned codewords of 8 / bits values each, the same for every piece of every row.

    At its best where all pieces are alike: on rows that were rotated and normalised (`Spectral`).

    Attributes:
        bits: 1, 2 or 4 per entry. At 8, `KMeans` is the same thing.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import ByteCodebook, EmbeddingTable
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = ByteCodebook(2).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        4896
    """

    bits: int

    effort = 2.0
    by_rows = True

    def __post_init__(self) -> None:
        check_choice(self, "bits", (1, 2, 4), hint="at 8 use KMeans")

    @property
    def name(self) -> str:  # noqa: D102
        return f"codebook-b{self.bits}"

    @property
    def _v(self) -> int:
        return 8 // self.bits

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return n * -(-d // self._v) + 4 * 256 * self._v

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        scaled = ScaledTable.by_largest(table)
        codebook = learn(self._sample(scaled, rng), 256, rng)
        whole, left = divmod(table.d, self._v)

        def encode(rows: slice) -> npt.NDArray[np.uint8]:
            block = scaled.read(rows)
            pieces = block[:, : whole * self._v].reshape(-1, self._v)
            codes = nearest(pieces, codebook).reshape(len(block), whole)
            if not left:
                return codes
            # The last piece is matched on the values that it has.
            last = nearest(block[:, -left:], np.ascontiguousarray(codebook[:, :left]))
            return np.column_stack([codes, last])

        packed = table.make((whole + bool(left),), np.uint8, encode)
        return Packed(packed, codebook * scaled.unit, table.d)

    def _sample(self, table: Table, rng: np.random.Generator) -> Float32s:
        """About `SAMPLE` pieces (m, v), those of random rows."""
        whole = max(1, table.d // self._v)
        rows = sample_rows(table, -(-SAMPLE // whole), rng)
        if table.d < self._v:
            rows = np.pad(rows, [(0, 0), (0, self._v - table.d)])
        return rows[:, : whole * self._v].reshape(-1, self._v)
