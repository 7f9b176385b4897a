"""Integers and NF4 with a scale for each row or for each block of a row.

Row-wise integers: Guan et al. 2019 (arXiv 1911.02079), the format of FBGEMM's embedding tables. Block-wise absmax:
Dettmers et al. 2022 (arXiv 2110.02861). NF4: Dettmers et al. 2023 (arXiv 2305.14314), App. E.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.scalar import encode
from eigenselect.compressors.data.arrays import rows_array
from eigenselect.compressors.data.table import Floats, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import plane_bytes
from eigenselect.compressors.payloads.composed import Repeated, Scaled, Sum
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.settings import check_choice, check_count, refuse

Float32s = npt.NDArray[np.float32]

# fmt: off
NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
], dtype=np.float32)
# fmt: on
"""Quantiles of the standard normal distribution with an exact zero, as published."""


@dataclass(frozen=True)
class Blockwise(Compressor):
    """Codes of `bits` bits; each block of a row has a scale, and with `minmax` an offset, of its own.

    Attributes:
        bits: 2, 4 or 8 per entry; 4 with `nf4`.
        scheme: `absmax` (symmetric integers), `minmax` (from the block's smallest to its largest entry) or `nf4`.
        block: entries that share a scale, 16 to 256; None is the whole row.
        scales: `float16` or `float32`.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import Blockwise, EmbeddingTable
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = Blockwise(4, "nf4", block=16).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        2064
    """

    bits: int = 8
    scheme: Literal["absmax", "minmax", "nf4"] = "absmax"
    block: int | None = None
    scales: Literal["float16", "float32"] = "float16"

    by_rows = True

    def __post_init__(self) -> None:
        check_choice(self, "bits", (2, 4, 8))
        check_choice(self, "scheme", ("absmax", "minmax", "nf4"))
        check_choice(self, "scales", ("float16", "float32"))
        if self.scheme == "nf4" and self.bits != 4:
            refuse(self, "bits", "4 with scheme = nf4")
        if self.block is not None:
            check_count(self, "block", 16, 256, "null is the whole row")

    @property
    def name(self) -> str:  # noqa: D102
        where = "row" if self.block is None else f"block{self.block}"
        wide = "-scales32" if self.scales == "float32" else ""
        return f"{where}-{self.scheme}-b{self.bits}{wide}"

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return True  # its scale is zero, and so is its offset

    def simplest(self, d: int) -> Compressor:  # noqa: D102
        return self if self.block is None or self.block < d else replace(self, block=None)

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        numbers = -(-d // self._count(d)) * (2 if self.scheme == "minmax" else 1)
        codes = n * plane_bytes(d, self.bits) + 4 * (1 << self.bits)
        return codes + n * numbers * np.dtype(self.scales).itemsize

    def _count(self, d: int) -> int:
        return d if self.block is None else min(self.block, d)

    def _levels(self) -> Float32s:
        """(2**bits,) values that the codes stand for, before the scale."""
        if self.scheme == "nf4":
            return NF4
        codes = np.arange(1 << self.bits, dtype=np.float32)
        return codes if self.scheme == "minmax" else codes - (1 << (self.bits - 1))

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        count, levels = self._count(table.d), self._levels()
        scales, offsets = self._fit(table, count, levels)
        # Stored relative to the largest, which goes into the levels: float16 is narrow, and tables of 1e-30 exist.
        largest = np.float32(scales.max() or 1.0)
        scales = (scales / largest).astype(self.scales)
        if offsets is not None:
            offsets = self._stored(offsets)
        boundaries = (levels[1:] + levels[:-1]) / 2

        def codes_of(block: Floats, rows: slice) -> npt.NDArray[np.uint8]:
            scale = np.repeat(scales[rows].astype(np.float32) * largest, count, axis=1)[:, : table.d]
            centred = block if offsets is None else block - np.repeat(offsets[rows], count, axis=1)[:, : table.d]
            position = np.divide(centred, scale, out=np.zeros_like(block), where=scale > 0)
            return np.searchsorted(boundaries, position).astype(np.uint8)

        (packed,) = encode(table, self.bits, codes_of)
        codes = Packed(packed, (levels * largest)[:, None], table.d)
        scaled = Scaled(codes, Repeated(Dense(scales), count, table.d))
        if offsets is None:
            return scaled
        return Sum((scaled, Repeated(Dense(offsets), count, table.d)))

    def _fit(self, table: Table, count: int, levels: Float32s) -> tuple[Float32s, Float32s | None]:
        """(n, blocks) scales, and offsets with `minmax`."""
        starts = np.arange(0, table.d, count)
        scales = rows_array((table.n, len(starts)), np.float32)
        offsets = rows_array(scales.shape, np.float32) if self.scheme == "minmax" else None
        for span in table.spans():
            block = table.read(span).astype(np.float32, copy=False)
            if offsets is None:
                scales[span] = np.maximum.reduceat(np.abs(block), starts, axis=1) / levels[-1]
            else:
                offsets[span] = np.minimum.reduceat(block, starts, axis=1)
                scales[span] = (np.maximum.reduceat(block, starts, axis=1) - offsets[span]) / levels[-1]
        return scales, offsets

    def _stored(self, offsets: Float32s) -> npt.NDArray[np.floating]:
        """The offsets in the type of the scales, where it can hold them."""
        limits, largest = np.finfo(self.scales), float(np.abs(offsets).max())
        if largest > float(limits.max) or 0 < largest < float(limits.tiny):
            raise ValueError(f"offsets of up to {largest:g} do not fit {self.scales}: use scales=float32")
        return offsets.astype(self.scales)
