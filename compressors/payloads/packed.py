"""Rows of packed codes into one codebook: uniform, k-means and learned byte codebooks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import Float32s, Payload, check_array
from eigenselect.compressors.payloads.bitpack import unpack_table
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Packed(Payload):
    """Rows of packed codes into one codebook.

    A codebook of 2**m codewords puts 8 / m codes in a byte; either way a byte picks one row of a (256, 8*v/m) table.

    Arrays:
        packed: (n, w) uint8, laid out as in `compressors.payloads.bitpack`.
        codebook: (2**m, v) float32 codewords of v values, m in {1, 2, 4, 8}.

    Attributes:
        dim: columns k <= w*8/m*v; what the last byte holds beyond them is dropped.
    """

    packed: npt.NDArray[np.uint8]
    codebook: Float32s
    dim: int

    def __post_init__(self) -> None:
        check_array("Packed.packed", self.packed, 2, "uint8")
        check_array("Packed.codebook", self.codebook, 2, "float32")
        if len(self.codebook) not in (2, 4, 16, 256):
            raise ValueError(f"Packed.codebook has {len(self.codebook)} codewords: it must have 2, 4, 16 or 256")
        columns = self.packed.shape[1] * self.lut().shape[1]
        if not isinstance(self.dim, int) or not 1 <= self.dim <= columns:
            raise ValueError(f"Packed.dim = {self.dim!r}: it must be from 1 to the {columns} columns that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.packed)

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    def lut(self) -> Float32s:
        """(256, 8*v/m) float32: the values that each byte stands for."""
        width = len(self.codebook).bit_length() - 1
        return self.codebook[unpack_table(width)].reshape(256, -1)

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        return ops.dequantize_gather(ops.param("packed", self.packed), ops.param("lut", self.lut()), rows, self.dim)
