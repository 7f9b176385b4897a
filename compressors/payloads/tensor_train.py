"""Rows as products of slices of cores."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eigenselect.compressors.payloads.base import Float32s, Payload, check_array
from eigenselect.compressors.payloads.ops import NO_ROW, Ops, V


@dataclass(frozen=True)
class TensorTrain(Payload):
    """A product of slices of cores: the digits of a row's id pick one slice of each core.

    Arrays:
        cores: two or more, (n_i, r_i, d_i, r_(i+1)) float32; the first and the last r are 1.

    Attributes:
        count: rows n <= the product of the n_i; the id's first digit is the most significant one.
        dim: columns k <= the product of the d_i.
    """

    cores: tuple[Float32s, ...]
    count: int
    dim: int

    def __post_init__(self) -> None:
        if not isinstance(self.cores, tuple):
            raise ValueError(f"TensorTrain.cores is a {type(self.cores).__name__}: it must be a tuple of arrays")
        for i, core in enumerate(self.cores):
            check_array(f"TensorTrain.cores.{i}", core, 4, "float32")
        shapes = [core.shape for core in self.cores]
        left, right = [1, *(shape[3] for shape in shapes)], [*(shape[1] for shape in shapes), 1]
        if len(shapes) < 2 or left != right:
            raise ValueError(f"TensorTrain.cores have shapes {shapes}: they must be two or more that fit together")
        # An id outside of the table becomes NO_ROW: its digits must not be those of a row.
        if (room := math.prod(shape[0] for shape in shapes)) > NO_ROW:
            raise ValueError(f"TensorTrain.cores have room for {room} rows: it must be at most {NO_ROW}")
        for name, size, axis in (("count", self.count, 0), ("dim", self.dim, 2)):
            most = math.prod(shape[axis] for shape in shapes)
            if not isinstance(size, int) or not 1 <= size <= most:
                raise ValueError(f"TensorTrain.{name} = {size!r}: it must be from 1 to the {most} that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return self.count

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def width(self) -> int:  # noqa: D102
        columns: Iterable[int] = itertools.accumulate((core.shape[2] for core in self.cores), operator.mul)
        sizes = (math.prod(core.shape[1:]) for core in self.cores)
        return max(int(c * core.shape[3] + size) for c, core, size in zip(columns, self.cores, sizes, strict=True))

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        ids = ops.wrap(rows, self.count)
        columns, after = self.cores[0].shape[2:]
        product = ops.reshape(self._slice(0, ids, ops), 2, (columns, after))
        for i, core in enumerate(self.cores[1:], 1):
            product = ops.matmul(product, self._slice(i, ids, ops))
            columns, after = columns * core.shape[2], core.shape[3]
            product = ops.reshape(product, 2, (columns, after))
        flat = ops.reshape(product, 2, (columns,))
        return flat if columns == self.dim else ops.cut(flat, self.dim)

    def _slice(self, i: int, ids: V, ops: Ops[V]) -> V:
        """Each id's slice of core i, (batch, r_i, d_i * r_(i+1))."""
        m, r, d, after = self.cores[i].shape
        stride = math.prod(len(core) for core in self.cores[i + 1 :])
        # The first digit is the whole quotient: an id that is too large must not wrap round.
        digit = ops.digit(ids, ops.param(f"stride.{i}", np.array(stride)), m if i else None)
        picked = ops.gather(ops.param(f"cores.{i}", self.cores[i].reshape(m, -1)), digit)
        return ops.reshape(picked, 1, (r, d * after))
