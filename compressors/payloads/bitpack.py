"""Packing of b-bit codes into the bytes of a row.

A plane holds codes of 1, 2, 4 or 8 bits, 8 / width to the byte, value j of a byte in bits [j*width, (j+1)*width).
Codes of 3, 5, 6 or 7 bits are split into planes (2+1, 4+1, 4+2, 4+2+1), most significant first, so that a byte never
holds a part of a code and every decoder is a lookup by bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import give_back, rows_array

Bytes = npt.NDArray[np.uint8]

PLANAR_BYTES = 1 << 25
"""What the codes that `planar` reorders at a time may take."""


def plane_widths(bits: int) -> list[int]:
    """Bits of each plane of a `bits`-bit code, most significant plane first."""
    return [width for width in (8, 4, 2, 1) if bits & width]


def plane_bytes(d: int, width: int) -> int:
    """Bytes of one row of `d` codes in a plane of `width` bits."""
    return -(-d * width // 8)


def row_bytes(d: int, bits: int) -> int:
    """Bytes of one row of `d` codes of `bits` bits: ceil(d*bits/8) where `bits` divides 8, else the sum over planes."""
    return sum(plane_bytes(d, width) for width in plane_widths(bits))


def split(codes: Bytes, bits: int) -> list[Bytes]:
    """The planes of `codes` ((rows, d) uint8, each < 2**bits), most significant first."""
    planes, below = [], bits
    for width in plane_widths(bits):
        below -= width
        planes.append((codes >> np.uint8(below)) & np.uint8((1 << width) - 1))
    return planes


def pack(codes: Bytes, width: int) -> Bytes:
    """(rows, d) codes of `width` bits (a divisor of 8) as (rows, plane_bytes(d, width)) bytes; spare bits are 0."""
    rows, d = codes.shape
    packed = np.zeros((rows, plane_bytes(d, width)), dtype=np.uint8)
    for j in range(8 // width):
        part = codes[:, j :: 8 // width]
        packed[:, : part.shape[1]] |= part << np.uint8(j * width)
    return packed


def unpack_table(width: int) -> Bytes:
    """The (256, 8 / width) codes that each byte holds."""
    every = np.arange(256, dtype=np.uint8)
    return np.stack([(every >> shift) & ((1 << width) - 1) for shift in range(0, 8, width)], axis=1)


def unpack(packed: Bytes, width: int, d: int) -> Bytes:
    """The inverse of `pack`: (rows, d) codes."""
    return unpack_table(width)[packed].reshape(len(packed), packed.shape[1] * 8 // width)[:, :d]


def planar(packed: Bytes, width: int, d: int) -> Bytes:
    """The rows of `pack` in another order: byte i has the codes of the columns i, w + i, 2w + i, ... of w bytes.

    All codes at one place of the bytes are then neighbouring columns, so that bytes can be taken apart as a whole.
    """
    if width == 8:
        return packed
    turned = rows_array(packed.shape, np.uint8)
    rows = max(1, PLANAR_BYTES // (packed.shape[1] * 8 // width))
    for start in range(0, len(packed), rows):
        part = packed[start : start + rows]
        columns = unpack(part, width, packed.shape[1] * 8 // width)
        columns[:, d:] = 0
        byte = np.zeros_like(part)
        for j, codes in enumerate(np.split(columns, 8 // width, axis=1)):
            byte |= codes << np.uint8(j * width)
        turned[start : start + rows] = byte
        give_back(packed, turned)
    return turned
