"""What all scalar quantizers share: encoding a table into planes of packed codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import device
from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.data.table import Floats, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import pack, plane_bytes, plane_widths, row_bytes, split
from eigenselect.compressors.payloads.composed import Sum
from eigenselect.compressors.payloads.packed import Packed

CodesOf = Callable[[Floats, slice], npt.NDArray[np.uint8]]
"""A float32 block of rows, and which rows they are -> their codes, of the same shape."""


AT_ONCE = 1 << 16
"""Values whose levels are counted at once: what is held of them lies in a near cache."""


def count_below(values: Floats, boundaries: Floats) -> npt.NDArray[np.uint8]:
    """How many of at most 255 boundaries lie below each value, which is its level; of the shape of the values.

    All boundaries are looked at: comparisons of whole vectors take less than a search, which waits for each of its own.
    A device has threads enough to wait.
    """
    if device.used() is not None:
        import torch

        return device.back(torch.bucketize(device.put(values), device.put(boundaries)).byte())
    codes = np.zeros(values.shape, np.uint8)
    flat, counts = values.ravel(), codes.reshape(-1)
    for start in range(0, len(flat), AT_ONCE):
        some, count = flat[start : start + AT_ONCE], counts[start : start + AT_ONCE]
        below = np.empty(len(some), np.bool_)
        for boundary in boundaries:
            np.greater(some, boundary, out=below)
            count += below.view(np.uint8)
    return codes


def encode(table: Table, bits: int, codes_of: CodesOf, *, drawn: bool = False) -> list[npt.NDArray[np.uint8]]:
    """The packed planes, most significant first, of the codes that `codes_of` gives each row block.

    Args:
        table: the table.
        bits: of a code.
        codes_of: what codes a block.
        drawn: whether `codes_of` draws at random, and is asked for one block after the other.
    """

    def codes(rows: slice) -> npt.NDArray[np.uint8]:
        return codes_of(table.read(rows).astype(np.float32, copy=False), rows)

    return _planes(table, table.d, bits, codes, in_turn=drawn)


def whole_numbers(table: Table, columns: int, bits: int, codes_of: Callable[[slice], npt.NDArray[np.uint8]]) -> Payload:
    """The payload that decodes to the codes, (len, columns) for each row range, that `codes_of` gives side by side."""
    return affine(_planes(table, columns, bits, codes_of), bits, columns, zero=0.0, scale=1.0)


def _planes(
    table: Table, columns: int, bits: int, codes_of: Callable[[slice], npt.NDArray[np.uint8]], *, in_turn: bool = False
) -> list[npt.NDArray[np.uint8]]:
    """The packed planes of the codes, (len, columns) for each row range."""
    widths = plane_widths(bits)
    planes = [rows_array((table.n, plane_bytes(columns, width)), np.uint8) for width in widths]

    def work(rows: slice) -> list[npt.NDArray[np.uint8]]:
        return [pack(part, width) for width, part in zip(widths, split(codes_of(rows), bits), strict=True)]

    found = map(work, table.spans()) if in_turn else table.shards(work)
    for rows, parts in zip(table.spans(), found, strict=True):
        for plane, part in zip(planes, parts, strict=True):
            plane[rows] = part
            give_back(plane)
    return planes


def affine(planes: list[npt.NDArray[np.uint8]], bits: int, dim: int, zero: float, scale: float) -> Payload:
    """The payload that decodes planes of `bits`-bit codes to `(code - zero) * scale`.

    Args:
        planes: as `encode` gives them.
        bits: of a code.
        dim: columns.
        zero: code of zero, a multiple of 1/2.
        scale: of a code.
    """
    parts: list[Payload] = []
    below = bits
    for packed, width in zip(planes, plane_widths(bits), strict=True):
        below -= width
        parts.append(Packed(packed, levels(width, below, 0.0 if parts else zero, np.float32(scale / 2))[:, None], dim))
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def levels(width: int, below: int, zero: float, half: np.float32) -> npt.NDArray[np.float32]:
    """(2**width,) float32: (code * 2**below - zero) * 2 * half, each rounded as ONNX's DequantizeLinear rounds it.

    Its zero point is a whole number. For a zero between two 8-bit codes half a step is added afterwards; codes of fewer
    bits have room in a byte to be shifted, so that their zero is whole. Half a step, because a step may overflow.
    """
    twice = np.arange(1 << width, dtype=np.float32) * np.float32(2 << below)
    if width < 8 or zero == int(zero):
        return (twice - np.float32(2 * zero)) * half
    return (twice - np.float32(2 * zero + 1)) * half + half


def affine_nbytes(n: int, d: int, bits: int) -> int:
    """Bytes of what `affine` makes: the packed rows and 4 bytes for each level of each plane."""
    return n * row_bytes(d, bits) + sum(4 * (1 << width) for width in plane_widths(bits))
