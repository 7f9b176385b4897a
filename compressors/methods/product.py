"""Product quantization (Jégou, Douze and Schmid 2011): each piece of a row has a codebook of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.lloyd import CODEWORDS, learn, nearest
from eigenselect.compressors.codebooks.scalar import affine_nbytes, whole_numbers
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.settings import check_choice, check_count

SAMPLE = 128
"""Rows that the codebooks are learned from, for each codeword."""


@dataclass(frozen=True)
class ProductQuantization(Compressor):
    """Pieces of ceil(d / pieces) values, each the nearest of its own codewords.

    Attributes:
        pieces: M, from 1 to d; fewer are made where fewer of that size cover the row.
        codewords: K, a power of two from 2 to 256.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, ProductQuantization
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = ProductQuantization(8, 16).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        2512
    """

    pieces: int
    codewords: int = 256

    effort = 2.5
    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "pieces")
        check_choice(self, "codewords", CODEWORDS)

    @property
    def name(self) -> str:  # noqa: D102
        return f"pq-m{self.pieces}-k{self.codewords}"

    def _shape(self, d: int) -> tuple[int, int]:
        """Number of pieces, and values of one."""
        if self.pieces > d:
            raise ValueError(f"pieces = {self.pieces}: must be at most the table's dimension d = {d}")
        v = -(-d // self.pieces)
        return -(-d // v), v

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        pieces, v = self._shape(d)
        return affine_nbytes(n, pieces, self._bits) + 4 * pieces * self.codewords * v

    @property
    def _bits(self) -> int:
        return self.codewords.bit_length() - 1

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        pieces, v = self._shape(table.d)
        scaled = ScaledTable.by_largest(table)

        def cut(rows: npt.NDArray[np.floating]) -> list[npt.NDArray[np.float32]]:
            padded = np.pad(rows, [(0, 0), (0, pieces * v - table.d)])
            return [np.ascontiguousarray(padded[:, i * v : (i + 1) * v]) for i in range(pieces)]

        sample = sample_rows(scaled, SAMPLE * self.codewords, rng)
        codebooks = np.stack([learn(points, self.codewords, rng) for points in cut(sample)])

        def codes_of(rows: slice) -> npt.NDArray[np.uint8]:
            points = cut(scaled.read(rows))
            return np.stack([nearest(p, book) for p, book in zip(points, codebooks, strict=True)], axis=1)

        codes = whole_numbers(table, pieces, self._bits, codes_of)
        return Coded(codes, codebooks * scaled.unit, summed=False, dim=table.d)
