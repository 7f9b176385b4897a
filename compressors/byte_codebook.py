"""A learned codebook of 256 codewords of 8 / bits values: one byte of a row picks several values at once.

Vector quantization by k-means (Lloyd 1982; Linde, Buzo and Gray 1980) with one codebook for all pieces of all rows.
Ours is only the size: with 256 codewords the packed rows, the decode and the operator are those of scalar codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressors.base import Compressor
from compressors.kinds import Packed
from compressors.payload import Payload
from compressors.table import Table

Float32s = npt.NDArray[np.float32]

SAMPLE = 1 << 17
"""Pieces that the codebook is learned from: 512 for each codeword."""

ROUNDS = 30
"""Rounds of Lloyd's algorithm; from there on the error falls by less than a thousandth a round."""

CHUNK = 1 << 15
"""Pieces compared with the codebook at once: 32 MB of distances."""


def nearest(pieces: Float32s, codebook: Float32s) -> npt.NDArray[np.uint8]:
    """Index of the nearest codeword of each piece: (m, v) and (256, v) give (m,)."""
    half_squares = np.einsum("ij,ij->i", codebook, codebook) / 2
    codes = np.empty(len(pieces), dtype=np.uint8)
    for start in range(0, len(pieces), CHUNK):
        closeness = pieces[start : start + CHUNK] @ codebook.T
        closeness -= half_squares
        codes[start : start + CHUNK] = closeness.argmax(axis=1)
    return codes


def learn(pieces: Float32s, rng: np.random.Generator) -> Float32s:
    """(256, v) codewords for the pieces (m, v) by k-means, from randomly picked pieces on."""
    codebook = pieces[rng.choice(len(pieces), 256, replace=len(pieces) < 256)]
    for _ in range(ROUNDS):
        codes = nearest(pieces, codebook)
        counts = np.bincount(codes, minlength=256)
        sums = [np.bincount(codes, weights=column, minlength=256) for column in pieces.T]
        codebook = (np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]).astype(np.float32)
        unused = np.flatnonzero(counts == 0)
        codebook[unused] = pieces[rng.choice(len(pieces), len(unused))]
    return codebook


@dataclass(frozen=True)
class ByteCodebook(Compressor):
    """256 learned codewords of 8 / bits values each, the same for every piece of every row.

    At its best where all pieces are alike: on rows that were rotated and normalised (`Spectral`).

    Attributes:
        bits: 1, 2 or 4 per entry. At 8, `KMeans` is the same thing.
    """

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (1, 2, 4) or isinstance(self.bits, bool):
            raise ValueError(f"bits = {self.bits!r}: a byte codebook takes 1, 2 or 4; at 8 use KMeans")

    @property
    def name(self) -> str:  # noqa: D102
        return f"codebook-b{self.bits}"

    @property
    def _v(self) -> int:
        return 8 // self.bits

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return n * -(-d // self._v) + 4 * 256 * self._v

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        # In units of the largest entry: products of entries of 1e30 would overflow.
        unit = np.float32(table.abs_max or 1.0)
        codebook = learn(self._sample(table, unit, rng), rng)
        packed = np.empty((table.n, -(-table.d // self._v)), dtype=np.uint8)

        def encode(rows: slice) -> None:
            block = table.read(rows).astype(np.float32, copy=False) / unit
            whole, left = divmod(table.d, self._v)
            pieces = block[:, : whole * self._v].reshape(-1, self._v)
            packed[rows, :whole] = nearest(pieces, codebook).reshape(len(block), whole)
            if left:  # the last piece is matched on the values that it has
                packed[rows, whole] = nearest(block[:, -left:], np.ascontiguousarray(codebook[:, :left]))

        for _ in table.each(encode):
            pass
        return Packed(packed, codebook * unit, table.d)

    def _sample(self, table: Table, unit: np.float32, rng: np.random.Generator) -> Float32s:
        """About `SAMPLE` pieces (m, v), those of random rows."""
        per_row = max(1, table.d // self._v)
        rows = np.sort(rng.permutation(table.n)[: -(-SAMPLE // per_row)])
        found = []
        for span in table.spans():
            picked = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)] - span.start
            block = table.read(span)[picked].astype(np.float32, copy=False) / unit
            if table.d < self._v:
                block = np.pad(block, [(0, 0), (0, self._v - table.d)])
            found.append(block[:, : per_row * self._v].reshape(-1, self._v))
        return np.concatenate(found)
