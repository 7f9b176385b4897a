"""The verbs that a payload's decode is written in, and their execution by numpy.

The other executions: `compressors.payloads.torch_ops.TorchOps`, and `export.operators.builder.OnnxOps`, which writes
nodes of a graph. A decode uses nothing but these verbs, so that what is scored, what is run in torch and what is
shipped are one procedure.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.windows import Windows

NO_ROW = 1 << 40
"""What an id outside of the table becomes where ids are computed with: looking it up is still an error."""

Array = npt.NDArray[Any]

V = TypeVar("V")
"""A value of an execution: an array, a tensor, the name of a value in a graph."""


class Ops(Protocol[V]):
    """The verbs. `rows` are ids of any integer type; a decoded value is (batch, k) float32."""

    def scope(self, name: str) -> Self:
        """The same verbs, with the names of parameters prefixed by `name`: a part of a payload."""

    def param(self, name: str, array: Array) -> V:
        """A stored array."""

    def wrap(self, rows: V, n: int) -> V:
        """Ids 0..n-1 of rows that may count from the end, as int64; ids outside of -n..n-1 become far too large."""

    def digit(self, numbers: V, strides: V, base: int | None) -> V:
        """Numbers // strides % base of whole numbers of at least 0, as int64; without a base the whole quotient."""

    def pick(self, array: V, ids: V) -> V:
        """Entries of an integer array, as int64."""

    def within(self, ids: V, start: int, count: int | None) -> V:
        """Ids counted from `start`, clipped to 0..count-1; without a count not clipped above."""

    def gather(self, table: V, rows: V) -> V:
        """Rows of a (n, k) float table, as float32."""

    def dequantize_gather(self, packed: V, lut: V, rows: V, dim: int) -> V:
        """Packed rows through a byte lookup: lut[packed[rows]], flattened and cut to `dim` columns.

        `packed` is (n, w) uint8 and `lut` is (256, v) float32 with w*v >= dim, both of them stored.
        """

    def lookup(self, levels: V, codes: V) -> V:
        """Levels (m,) or codewords (m, v) picked by whole numbers, of any type and shape."""

    def trellis_gather(self, packed: V, levels: V, rows: V, bits: int, dim: int) -> V:
        """Levels picked by windows over the bits of packed rows, (batch, dim).

        `packed` is (n, w) uint8 with w*8 >= bits*dim and `levels` is (2**window,) float32, both of them stored. The
        bits of a byte count from the most significant one, before the first byte comes the last one, and column j is
        picked by the `window` bits that end with bit bits*(j+1) - 1.
        """

    def columns(self, a: V, places: V) -> V:
        """The columns at `places`, stored, in that order."""

    def add(self, a: V, b: V) -> V:
        """Elementwise sum."""

    def mul(self, a: V, b: V) -> V:
        """Elementwise product; a column (batch, 1) scales rows."""

    def repeat(self, a: V, columns: int, count: int, dim: int) -> V:
        """Each of the `columns` columns `count` times in a row, cut to `dim` columns."""

    def reshape(self, a: V, last: int, shape: tuple[int, ...]) -> V:
        """The last `last` axes in another shape."""

    def cut(self, a: V, dim: int) -> V:
        """The first `dim` columns."""

    def add_codewords(self, codebooks: V, codes: V, count: int) -> V:
        """Sums of codewords: code j picks one of the j-th of `count` equal parts of the stored rows (count*K, v)."""

    def from_row(self, ids: V, start: int, a: V, b: V) -> V:
        """Rows of `a` where the id is `start` or more, rows of `b` elsewhere."""

    def replace(self, a: V, ids: V, rows: V, table: V) -> V:
        """Rows of `a`, but where the id is one of `rows` the row of `table`, widened, at its place among them."""

    def matmul(self, a: V, b: V) -> V:
        """(..., i, j) times (..., j, k); b may be float16 and is widened."""

    def sum_bags(self, a: V, bags: V) -> V:
        """Sums of the rows (batch, k) of consecutive bags, (len, k): `bags` are the rows that each begins with."""


VERBS = frozenset(name for name in vars(Ops) if not name.startswith("_"))
"""The names of all verbs."""


class NumpyOps:
    """The reference execution. `rows` may also be a slice, which is read without a copy."""

    def scope(self, name: str) -> NumpyOps:  # noqa: D102
        return self

    def param(self, name: str, array: Array) -> Array:  # noqa: D102
        return array

    def wrap(self, rows: Array | slice, n: int) -> Array:  # noqa: D102
        ids = np.arange(*rows.indices(n)) if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        return np.where((ids >= -n) & (ids < n), np.where(ids < 0, ids + n, ids), NO_ROW)

    def digit(self, numbers: Array, strides: Array, base: int | None) -> Array:  # noqa: D102
        quotients = numbers.astype(np.int64) // strides
        return quotients if base is None else quotients % base

    def pick(self, array: Array, ids: Array) -> Array:  # noqa: D102
        return array[ids].astype(np.int64)

    def within(self, ids: Array, start: int, count: int | None) -> Array:  # noqa: D102
        clipped: Array = np.clip(ids - start, 0, None if count is None else count - 1)
        return clipped

    def gather(self, table: Array, rows: Array | slice) -> Array:  # noqa: D102
        return table[rows].astype(np.float32, copy=False)

    def dequantize_gather(self, packed: Array, lut: Array, rows: Array | slice, dim: int) -> Array:  # noqa: D102
        picked: Array = lut[packed[rows]]
        # Sizes are spelled out instead of -1: an empty batch has no shape to infer from.
        return picked.reshape(*picked.shape[:-2], picked.shape[-2] * picked.shape[-1])[..., :dim]

    def lookup(self, levels: Array, codes: Array) -> Array:  # noqa: D102
        return levels[codes.astype(np.intp)]

    def trellis_gather(self, packed: Array, levels: Array, rows: Array | slice, bits: int, dim: int) -> Array:  # noqa: D102
        picked, windows = packed[rows], Windows(bits, len(levels).bit_length() - 1)
        numbers = picked.astype(np.int32)
        for back in range(1, windows.before + 1):
            numbers |= np.roll(picked, back, axis=-1).astype(np.int32) << 8 * back
        columns = np.empty((*numbers.shape, len(windows.starts)), np.float32)
        for j, start in enumerate(windows.starts):  # a byte's columns one by one: long loops
            columns[..., j] = levels[numbers >> start & len(levels) - 1]
        return columns.reshape(*picked.shape[:-1], picked.shape[-1] * len(windows.starts))[..., :dim]

    def columns(self, a: Array, places: Array) -> Array:  # noqa: D102
        return a[..., places]

    def add(self, a: Array, b: Array) -> Array:  # noqa: D102
        return a + b

    def mul(self, a: Array, b: Array) -> Array:  # noqa: D102
        return a * b

    def repeat(self, a: Array, columns: int, count: int, dim: int) -> Array:  # noqa: D102
        return np.repeat(a, count, axis=-1)[..., :dim]

    def reshape(self, a: Array, last: int, shape: tuple[int, ...]) -> Array:  # noqa: D102
        return a.reshape(*a.shape[:-last], *shape)

    def cut(self, a: Array, dim: int) -> Array:  # noqa: D102
        return a[..., :dim]

    def add_codewords(self, codebooks: Array, codes: Array, count: int) -> Array:  # noqa: D102
        first = np.arange(0, len(codebooks), len(codebooks) // count)
        picked: Array = codebooks[codes.astype(np.intp) + first]
        total: Array = picked.sum(axis=-2)
        return total

    def from_row(self, ids: Array, start: int, a: Array, b: Array) -> Array:  # noqa: D102
        return np.where((ids >= start)[..., None], a, b)

    def replace(self, a: Array, ids: Array, rows: Array, table: Array) -> Array:  # noqa: D102
        hit = ids[..., None] == rows
        return np.where(hit.any(axis=-1)[..., None], table.astype(np.float32)[hit.argmax(axis=-1)], a)

    def matmul(self, a: Array, b: Array) -> Array:  # noqa: D102
        product: Array = a @ b.astype(np.float32, copy=False)
        return product

    def sum_bags(self, a: Array, bags: Array) -> Array:  # noqa: D102
        ends = np.append(bags[1:], len(a))
        full = ends > bags  # an empty bag would be the row that it begins with
        sums = np.zeros((len(bags), a.shape[-1]), np.float32)
        if full.any():
            sums[full] = np.add.reduceat(a[: ends[-1]], bags[full], axis=0, dtype=np.float64)
        return sums
