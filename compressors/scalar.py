"""What all scalar quantizers share: encoding a table into planes of packed codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from compressors.bitpack import pack, plane_bytes, plane_widths, row_bytes, split
from compressors.composed import Sum
from compressors.kinds import Packed
from compressors.payload import Payload
from compressors.table import Floats, Table

CodesOf = Callable[[Floats, slice], npt.NDArray[np.uint8]]
"""A float32 block of rows, and which rows they are -> their codes, of the same shape."""


def encode(table: Table, bits: int, codes_of: CodesOf) -> list[npt.NDArray[np.uint8]]:
    """The packed planes, most significant first, of the codes that `codes_of` gives each row block."""
    widths = plane_widths(bits)
    planes = [np.empty((table.n, plane_bytes(table.d, width)), dtype=np.uint8) for width in widths]
    for span in table.spans():
        codes = codes_of(table.read(span).astype(np.float32, copy=False), span)
        for packed, width, part in zip(planes, widths, split(codes, bits), strict=True):
            packed[span] = pack(part, width)
    return planes


def whole_numbers(table: Table, columns: int, bits: int, codes_of: Callable[[slice], npt.NDArray[np.uint8]]) -> Payload:
    """The payload that decodes to the codes, (len, columns) for each row range, that `codes_of` gives side by side."""
    widths = plane_widths(bits)
    planes = [np.empty((table.n, plane_bytes(columns, width)), dtype=np.uint8) for width in widths]

    def work(rows: slice) -> None:
        for packed, width, part in zip(planes, widths, split(codes_of(rows), bits), strict=True):
            packed[rows] = pack(part, width)

    table.over(work)
    return affine(planes, bits, columns, offset=0.0, scale=1.0)


def affine(planes: list[npt.NDArray[np.uint8]], bits: int, dim: int, offset: float, scale: float) -> Payload:
    """The payload that decodes planes of `bits`-bit codes to `offset + scale * code`."""
    parts: list[Payload] = []
    below = bits
    for packed, width in zip(planes, plane_widths(bits), strict=True):
        below -= width
        levels = (0.0 if parts else offset) + scale * (np.arange(1 << width) << below)
        parts.append(Packed(packed, levels.astype(np.float32)[:, None], dim))
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def affine_nbytes(n: int, d: int, bits: int) -> int:
    """Bytes of what `affine` makes: the packed rows and 4 bytes for each level of each plane."""
    return n * row_bytes(d, bits) + sum(4 * (1 << width) for width in plane_widths(bits))
