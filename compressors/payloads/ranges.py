"""What a payload can decode to at most: an execution of the verbs whose values are ranges, without reading a row.

A file of a stranger may hold numbers that no method made: scales whose products are not finite, codes that no codeword
belongs to. The ranges show that none of it can happen; where they cannot, the rows themselves are read.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.ops import Array

LARGEST = float(np.finfo(np.float32).max)

WIDEST = 1 << 24
"""Values in the widest step of the decode of a row."""


def check_decode(payload: Payload) -> None:
    """Raise a ValueError unless every row decodes, in bounded memory, to finite numbers."""
    n, k = payload.n, payload.k
    if n < 1 or k < 1 or payload.width > WIDEST:
        raise ValueError(f"it is {n} x {k}, {payload.width} values at a time: it must have 1 to {WIDEST} columns")
    try:
        payload.decode(Range(0, n - 1, 1), RangeOps())
    except _UnknownError:
        _read(payload)


def _read(payload: Payload) -> None:
    step = max(1, WIDEST // payload.width)
    with np.errstate(all="ignore"):
        for start in range(0, payload.n, step):
            try:
                rows = payload.read(slice(start, start + step))
            except IndexError as error:
                raise ValueError(f"a row from {start} on has a code without a codeword ({error})") from error
            if not np.isfinite(rows).all():
                row = start + int(np.argmin(np.isfinite(rows).all(axis=1)))
                raise ValueError(f"row {row} decodes to numbers that are not finite")


class _UnknownError(Exception):
    """What is decoded may be outside of what is stored, or of what float32 holds."""


class Range(NamedTuple):
    """Values from `low` to `high`, in `length` rows: of a stored array, or of what is made of it."""

    low: float
    high: float
    length: int


def _range(low: float, high: float, length: int) -> Range:
    if not (-LARGEST <= low and high <= LARGEST):  # also where one of them is not a number
        raise _UnknownError
    return Range(low, high, length)


def _either(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), max(a.high, b.high), a.length)


class RangeOps:
    """The verbs on ranges. Ids are not looked into: those outside of the table are refused where they are looked up."""

    def scope(self, name: str) -> Self:  # noqa: D102
        return self

    def param(self, name: str, array: Array) -> Range:  # noqa: D102
        length = len(array) if array.ndim else 1
        if array.dtype == np.uint8:  # packed codes: not looked at one by one
            return Range(0, 255, length)
        return _range(float(array.min()), float(array.max()), length) if array.size else Range(0, 0, length)

    def wrap(self, rows: Range, n: int) -> Range:  # noqa: D102
        return Range(0, n - 1, rows.length)

    def digit(self, numbers: Range, strides: Range, base: int | None) -> Range:  # noqa: D102
        return Range(0, numbers.high if base is None else base - 1, numbers.length)

    def pick(self, array: Range, ids: Range) -> Range:  # noqa: D102
        return array._replace(length=ids.length)

    def within(self, ids: Range, start: int, count: int | None) -> Range:  # noqa: D102
        return Range(0, ids.high if count is None else count - 1, ids.length)

    def gather(self, table: Range, rows: Range) -> Range:  # noqa: D102
        return table._replace(length=rows.length)

    def dequantize_gather(self, packed: Range, lut: Range, rows: Range, dim: int) -> Range:  # noqa: D102
        return lut._replace(length=rows.length)

    def lookup(self, levels: Range, codes: Range) -> Range:  # noqa: D102
        if not 0 <= codes.low <= codes.high < levels.length:
            raise _UnknownError
        return levels._replace(length=codes.length)

    def trellis_gather(self, packed: Range, levels: Range, rows: Range, bits: int, dim: int) -> Range:  # noqa: D102
        return levels._replace(length=rows.length)

    def columns(self, a: Range, places: Range) -> Range:  # noqa: D102
        return a

    def add(self, a: Range, b: Range) -> Range:  # noqa: D102
        return _range(a.low + b.low, a.high + b.high, a.length)

    def mul(self, a: Range, b: Range) -> Range:  # noqa: D102
        products = [x * y for x in a[:2] for y in b[:2]]
        return _range(min(products), max(products), a.length)

    def repeat(self, a: Range, columns: int, count: int, dim: int) -> Range:  # noqa: D102
        return a

    def reshape(self, a: Range, last: int, shape: tuple[int, ...]) -> Range:  # noqa: D102
        return a._replace(length=shape[0]) if len(shape) > 1 else a

    def cut(self, a: Range, dim: int) -> Range:  # noqa: D102
        return a

    def add_codewords(self, codebooks: Range, codes: Range, count: int) -> Range:  # noqa: D102
        picked = self.lookup(codebooks._replace(length=codebooks.length // count), codes)
        return _range(count * picked.low, count * picked.high, codes.length)

    def from_row(self, ids: Range, start: int, a: Range, b: Range) -> Range:  # noqa: D102
        return _either(a, b)

    def replace(self, a: Range, ids: Range, rows: Range, table: Range) -> Range:  # noqa: D102
        return _either(a, table)

    def matmul(self, a: Range, b: Range) -> Range:  # noqa: D102
        most = b.length * max(map(abs, a[:2])) * max(map(abs, b[:2]))
        return _range(-most, most, a.length)

    def sum_bags(self, a: Range, bags: Range) -> Range:  # noqa: D102
        return a
