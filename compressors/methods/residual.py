"""Residual quantization (Juang and Gray 1982): stages of k-means, each on what the stages before leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.additive import additive, additive_nbytes, choose_all, learn_stages
from eigenselect.compressors.codebooks.lloyd import CODEWORDS
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.settings import check_choice, check_count


@dataclass(frozen=True)
class ResidualQuantization(Compressor):
    """A row is the sum of one codeword from each of `books` codebooks, chosen one after the other.

    Attributes:
        books: M, at least 1.
        codewords: K of each book, a power of two from 2 to 256.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, ResidualQuantization
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = ResidualQuantization(8, 16).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        16848
    """

    books: int
    codewords: int = 256

    effort = 4.0
    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "books")
        check_choice(self, "codewords", CODEWORDS)

    @property
    def name(self) -> str:  # noqa: D102
        return f"rq-m{self.books}-k{self.codewords}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return additive_nbytes(n, d, self.books, self.codewords)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        scaled = ScaledTable.by_largest(table)
        codebooks = learn_stages(scaled, self.books, self.codewords, rng)
        return additive(table, choose_all(scaled, codebooks), codebooks * scaled.unit)
