"""Codewords picked by codes that are themselves decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eigenselect.compressors.payloads.base import Float32s, Payload, check_array, check_payload
from eigenselect.compressors.payloads.ops import Ops, V

EXACT = 1 << 24
"""Whole numbers up to this are exact in float32: codes are decoded as such."""


@dataclass(frozen=True)
class Coded(Payload):
    """Codewords side by side (product codes) or added (additive codes).

    Arrays:
        codebooks: (c, K, v) float32, one for each column of the codes; or (1, K, v), one for all, where not summed.

    Attributes:
        codes: a payload that decodes to whole numbers in 0..K-1, in c columns.
        summed: the c codewords of a row are added, to v columns, rather than put side by side.
        dim: columns k; what the last codeword holds beyond them is dropped.
    """

    codes: Payload
    codebooks: Float32s
    summed: bool
    dim: int

    def __post_init__(self) -> None:
        check_payload("Coded.codes", self.codes)
        check_array("Coded.codebooks", self.codebooks, 3, "float32")
        count, size, v = self.codebooks.shape
        if not 1 <= count * size <= EXACT:
            raise ValueError(f"Coded.codebooks has {count * size} codewords: it must have from 1 to {EXACT}")
        if count != self.codes.k and (count > 1 or self.summed):
            raise ValueError(f"Coded.codebooks has {count} codebooks for codes of {self.codes.k} columns")
        if not isinstance(self.summed, bool):
            raise ValueError(f"Coded.summed = {self.summed!r}: it must be true or false")
        columns = v if self.summed else self.codes.k * v
        if not isinstance(self.dim, int) or not 1 <= self.dim <= columns:
            raise ValueError(f"Coded.dim = {self.dim!r}: it must be from 1 to the {columns} columns that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return self.codes.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def width(self) -> int:  # noqa: D102
        # A code is looked up as an int64, which takes two values' room.
        return max(self.codes.width, self.codes.k * max(2, int(self.codebooks.shape[2])))

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        count, size, v = self.codebooks.shape
        codes = self.codes.decode(rows, ops.scope("codes"))
        codebooks = ops.param("codebooks", self.codebooks.reshape((count * size, v) if v > 1 or self.summed else -1))
        columns = v if self.summed else self.codes.k * v
        if self.summed:
            flat = ops.add_codewords(codebooks, codes, count)
        else:
            if count > 1:  # the codebooks lie one after the other
                codes = ops.add(codes, ops.param("first", np.arange(0, count * size, size, dtype=np.float32)))
            picked = ops.lookup(codebooks, codes)
            flat = ops.reshape(picked, 2, (columns,)) if v > 1 else picked
        return flat if columns == self.dim else ops.cut(flat, self.dim)
