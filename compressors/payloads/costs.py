"""What a lookup costs, exactly and without doing it: an execution of the verbs whose value is the shape of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.ops import Array


@dataclass(frozen=True)
class Cost:
    """What the lookup of one row alone costs.

    Attributes:
        bytes: read of what is stored and of the tables made of it: the row's codes, the entries that they pick, and
            whole matrices, which a batch of rows shares.
        multiply_adds: products and sums of floats; a product that is added counts once.
        nodes: verbs that are executed, whatever the number of rows.
    """

    bytes: int
    multiply_adds: int
    nodes: int


def cost_of(payload: Payload) -> Cost:
    """The cost of a lookup in `payload`.

    Example:
        >>> from eigenselect.compressors.payloads.composed import Projected
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> rows = Dense(np.ones((1000, 8), np.float16))
        >>> cost_of(rows)
        Cost(bytes=16, multiply_adds=0, nodes=1)
        >>> cost_of(Projected(rows, np.ones((8, 32), np.float32)))
        Cost(bytes=1040, multiply_adds=256, nodes=2)
    """
    ops = CostOps()
    payload.decode(Shape((), 8), ops)
    return Cost(ops.bytes, ops.multiply_adds, ops.nodes)


@dataclass(frozen=True)
class Shape:
    """A value of one row, or a stored array.

    Attributes:
        shape: without the batch.
        itemsize: bytes of an entry.
        stored: it is no value of a row, but an array that all rows read.
    """

    shape: tuple[int, ...]
    itemsize: int = 4
    stored: bool = False


ID_BYTES = 8
"""Ids and what is computed of them are int64; all floats are smaller."""


class CostOps:
    """Counts what the verbs read and compute for one row."""

    def __init__(self) -> None:
        self.bytes = self.multiply_adds = self.nodes = 0

    def _made(self, shape: tuple[int, ...], *, itemsize: int = 4, multiply_adds: int = 0) -> Shape:
        """The value that a verb makes."""
        self.nodes += 1
        self.multiply_adds += multiply_adds
        return Shape(shape, itemsize)

    def _picked(self, table: Shape, ids: Shape, *, itemsize: int = 4) -> Shape:
        """Entries of a stored array, one for each of `ids`."""
        shape = (*ids.shape, *table.shape[1:])
        self.bytes += math.prod(shape) * table.itemsize
        return self._made(shape, itemsize=itemsize)

    def _whole(self, *values: Shape) -> None:
        """Read all of those that are stored."""
        self.bytes += sum(math.prod(value.shape) * value.itemsize for value in values if value.stored)

    def _elementwise(self, a: Shape, b: Shape) -> Shape:
        self._whole(a, b)
        shape, itemsize = np.broadcast_shapes(a.shape, b.shape), max(a.itemsize, b.itemsize)
        if itemsize == ID_BYTES:  # numbers of rows are no floats
            return self._made(shape, itemsize=itemsize)
        return self._made(shape, multiply_adds=math.prod(shape))

    def scope(self, name: str) -> Self:  # noqa: D102
        return self

    def param(self, name: str, array: Array) -> Shape:  # noqa: D102
        return Shape(array.shape, array.itemsize, stored=True)

    def wrap(self, rows: Shape, n: int) -> Shape:  # noqa: D102
        return self._made(rows.shape, itemsize=ID_BYTES)

    def digit(self, numbers: Shape, strides: Shape, base: int | None) -> Shape:  # noqa: D102
        self._whole(strides)
        return self._made(np.broadcast_shapes(numbers.shape, strides.shape), itemsize=ID_BYTES)

    def pick(self, array: Shape, ids: Shape) -> Shape:  # noqa: D102
        return self._picked(array, ids, itemsize=ID_BYTES)

    def within(self, ids: Shape, start: int, count: int | None) -> Shape:  # noqa: D102
        return self._made(ids.shape, itemsize=ID_BYTES)

    def gather(self, table: Shape, rows: Shape) -> Shape:  # noqa: D102
        return self._picked(table, rows)

    def dequantize_gather(self, packed: Shape, lut: Shape, rows: Shape, dim: int) -> Shape:  # noqa: D102
        codes = math.prod((*rows.shape, *packed.shape[1:]))
        self.bytes += codes * (packed.itemsize + lut.shape[1] * lut.itemsize)
        return self._made((*rows.shape, dim))

    def lookup(self, levels: Shape, codes: Shape) -> Shape:  # noqa: D102
        return self._picked(levels, codes)

    def trellis_gather(self, packed: Shape, levels: Shape, rows: Shape, bits: int, dim: int) -> Shape:  # noqa: D102
        self.bytes += math.prod((*rows.shape, *packed.shape[1:])) * packed.itemsize + dim * levels.itemsize
        return self._made((*rows.shape, dim))

    def columns(self, a: Shape, places: Shape) -> Shape:  # noqa: D102
        self._whole(places)
        return self._made((*a.shape[:-1], *places.shape))

    def add(self, a: Shape, b: Shape) -> Shape:  # noqa: D102
        return self._elementwise(a, b)

    def mul(self, a: Shape, b: Shape) -> Shape:  # noqa: D102
        return self._elementwise(a, b)

    def repeat(self, a: Shape, columns: int, count: int, dim: int) -> Shape:  # noqa: D102
        return self._made((*a.shape[:-1], dim))

    def reshape(self, a: Shape, last: int, shape: tuple[int, ...]) -> Shape:  # noqa: D102
        return self._made((*a.shape[:-last], *shape))

    def cut(self, a: Shape, dim: int) -> Shape:  # noqa: D102
        return self._made((*a.shape[:-1], dim))

    def add_codewords(self, codebooks: Shape, codes: Shape, count: int) -> Shape:  # noqa: D102
        v = codebooks.shape[1]
        self.bytes += math.prod(codes.shape) * v * codebooks.itemsize
        shape = (*codes.shape[:-1], v)
        return self._made(shape, multiply_adds=math.prod(shape) * (count - 1))

    def from_row(self, ids: Shape, start: int, a: Shape, b: Shape) -> Shape:  # noqa: D102
        return self._made(a.shape)

    def replace(self, a: Shape, ids: Shape, rows: Shape, table: Shape) -> Shape:  # noqa: D102
        self._whole(rows)
        self.bytes += math.prod(a.shape) * table.itemsize
        return self._made(a.shape)

    def matmul(self, a: Shape, b: Shape) -> Shape:  # noqa: D102
        self._whole(a, b)
        shape = (*a.shape[:-1], b.shape[-1])
        return self._made(shape, multiply_adds=math.prod(a.shape) * b.shape[-1])

    def sum_bags(self, a: Shape, bags: Shape) -> Shape:  # noqa: D102
        return self._made(a.shape, multiply_adds=math.prod(a.shape))
