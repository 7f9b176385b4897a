"""Residual quantization (Juang and Gray 1982): stages of k-means, each on what the stages before leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eigenselect.compressors.base import Compressor, check_count
from eigenselect.compressors.codebooks.additive import additive, additive_nbytes, choose_all, learn_stages
from eigenselect.compressors.codebooks.lloyd import check_codewords
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.payloads.base import Payload


@dataclass(frozen=True)
class ResidualQuantization(Compressor):
    """A row is the sum of one codeword from each of `books` codebooks, chosen one after the other.

    Attributes:
        books: M, at least 1.
        codewords: K of each book, a power of two from 2 to 256.
    """

    books: int
    codewords: int = 256

    def __post_init__(self) -> None:
        check_count("books", self.books)
        check_codewords(self.codewords)

    @property
    def name(self) -> str:  # noqa: D102
        return f"rq-m{self.books}-k{self.codewords}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return additive_nbytes(n, d, self.books, self.codewords)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        # In units of the largest entry: squares of entries of 1e30 would overflow.
        unit = np.float32(table.abs_max or 1.0)
        codebooks = learn_stages(table, unit, self.books, self.codewords, rng)
        return additive(table, choose_all(table, unit, codebooks), codebooks * unit)
