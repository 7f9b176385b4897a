"""The verbs that a payload's decode is written in, executed by numpy or by torch.

`export.operators.builder.OnnxOps` is the third execution: it appends nodes to a graph. A decode uses nothing but these
verbs, so that what is scored, what is run in torch and what is shipped are one procedure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

NO_ROW = 1 << 40
"""What an id outside of the table becomes where ids are reckoned with: looking it up is still an error."""


def spreads(bits: int, count: int) -> list[tuple[int, int]]:
    """For each of `count` successive windows, how many numbers the bits before and after it make."""
    return [(1 << bits * i, 1 << bits * (count - 1 - i)) for i in range(count)]


class Ops(Protocol):
    """The verbs. `rows` are ids of any integer type; a decoded value is (batch, k) float32."""

    def scope(self, name: str) -> Self:
        """The same verbs, with the names of parameters prefixed by `name`: a part of a payload."""

    def param(self, name: str, array: npt.NDArray[Any]) -> Any:
        """A stored array."""

    def wrap(self, rows: Any, n: int) -> Any:
        """Ids 0..n-1 of rows that may count from the end, as int64; ids outside of -n..n-1 become far too large."""

    def digit(self, numbers: Any, strides: Any, base: int | None) -> Any:
        """Numbers // strides % base of whole numbers of at least 0, as int64; without a base the whole quotient."""

    def pick(self, array: Any, ids: Any) -> Any:
        """Entries of an integer array, as int64."""

    def within(self, ids: Any, start: int, count: int | None) -> Any:
        """Ids counted from `start`, clipped to 0..count-1; without a count not clipped above."""

    def gather(self, table: Any, rows: Any) -> Any:
        """Rows of a (n, k) float table, as float32."""

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:
        """Packed rows through a byte lookup: lut[packed[rows]], flattened and cut to `dim` columns.

        `packed` is (n, w) uint8 and `lut` is (256, v) float32 with w*v >= dim.
        """

    def lookup(self, levels: Any, codes: Any) -> Any:
        """Levels (m,) or codewords (m, v) picked by whole numbers, of any type and shape."""

    def add(self, a: Any, b: Any) -> Any:
        """Elementwise sum."""

    def mul(self, a: Any, b: Any) -> Any:
        """Elementwise product; a column (batch, 1) scales rows."""

    def repeat(self, a: Any, columns: int, count: int, dim: int) -> Any:
        """Each of the `columns` columns `count` times in a row, cut to `dim` columns."""

    def bits(self, a: Any, starts: Sequence[int], count: int) -> Any:
        """Bits [start, start + count) of whole numbers below 2**24, (..., 1) floats, for each start side by side."""

    def successive(self, levels: Any, window: int, bits: int, count: int) -> Any:
        """What `count` windows pick from the (2**window,) levels, each `bits` bits after the one before.

        (2**(window + bits * (count - 1)), count) by the bits of them all, the first ones most significant.
        """

    def roll(self, a: Any, count: int, columns: int) -> Any:
        """The `columns` columns moved to the right by `count`, the last ones to the front."""

    def reshape(self, a: Any, last: int, shape: tuple[int, ...]) -> Any:
        """The last `last` axes in another shape."""

    def cut(self, a: Any, dim: int) -> Any:
        """The first `dim` columns."""

    def add_codewords(self, codebooks: Any, codes: Any, count: int) -> Any:
        """Sums of codewords: code j picks one of the j-th of `count` equal parts of the rows (count*K, v)."""

    def from_row(self, ids: Any, start: int, a: Any, b: Any) -> Any:
        """Rows of `a` where the id is `start` or more, rows of `b` elsewhere."""

    def replace(self, a: Any, ids: Any, rows: Any, table: Any) -> Any:
        """Rows of `a`, but where the id is one of `rows` the row of `table`, widened, at its place among them."""

    def matmul(self, a: Any, b: Any) -> Any:
        """(..., i, j) times (..., j, k); b may be float16 and is widened."""


class NumpyOps:
    """The reference execution. `rows` may also be a slice, which is read without a copy."""

    def scope(self, name: str) -> NumpyOps:  # noqa: D102
        return self

    def param(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: D102
        return array

    def wrap(self, rows: Any, n: int) -> Any:  # noqa: D102
        ids = np.arange(*rows.indices(n)) if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        return np.where((ids >= -n) & (ids < n), np.where(ids < 0, ids + n, ids), NO_ROW)

    def digit(self, numbers: Any, strides: Any, base: int | None) -> Any:  # noqa: D102
        quotients = numbers.astype(np.int64) // strides
        return quotients if base is None else quotients % base

    def pick(self, array: Any, ids: Any) -> Any:  # noqa: D102
        return array[ids].astype(np.int64)

    def within(self, ids: Any, start: int, count: int | None) -> Any:  # noqa: D102
        return np.clip(ids - start, 0, None if count is None else count - 1)

    def gather(self, table: Any, rows: Any) -> Any:  # noqa: D102
        return table[rows].astype(np.float32, copy=False)

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:  # noqa: D102
        picked = lut[packed[rows]]
        # Sizes are spelled out instead of -1: an empty batch has no shape to infer from.
        return picked.reshape(*picked.shape[:-2], picked.shape[-2] * picked.shape[-1])[..., :dim]

    def lookup(self, levels: Any, codes: Any) -> Any:  # noqa: D102
        return levels[codes.astype(np.intp)]

    def add(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a + b

    def mul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a * b

    def repeat(self, a: Any, columns: int, count: int, dim: int) -> Any:  # noqa: D102
        return np.repeat(a, count, axis=-1)[..., :dim]

    def bits(self, a: Any, starts: Sequence[int], count: int) -> Any:  # noqa: D102
        return np.floor(a * np.array([2.0**-start for start in starts], np.float32)) % np.float32(1 << count)

    def successive(self, levels: Any, window: int, bits: int, count: int) -> Any:  # noqa: D102
        columns = [np.tile(levels.repeat(after), before) for before, after in spreads(bits, count)]
        return np.stack(columns, axis=1) if count > 1 else levels

    def roll(self, a: Any, count: int, columns: int) -> Any:  # noqa: D102
        return np.roll(a, count, axis=-1)

    def reshape(self, a: Any, last: int, shape: tuple[int, ...]) -> Any:  # noqa: D102
        return a.reshape(*a.shape[:-last], *shape)

    def cut(self, a: Any, dim: int) -> Any:  # noqa: D102
        return a[..., :dim]

    def add_codewords(self, codebooks: Any, codes: Any, count: int) -> Any:  # noqa: D102
        first = np.arange(0, len(codebooks), len(codebooks) // count)
        return codebooks[codes.astype(np.intp) + first].sum(axis=-2)

    def from_row(self, ids: Any, start: int, a: Any, b: Any) -> Any:  # noqa: D102
        return np.where((ids >= start)[..., None], a, b)

    def replace(self, a: Any, ids: Any, rows: Any, table: Any) -> Any:  # noqa: D102
        hit = ids[..., None] == rows
        return np.where(hit.any(axis=-1)[..., None], table.astype(np.float32)[hit.argmax(axis=-1)], a)

    def matmul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a @ b.astype(np.float32, copy=False)


class TorchOps:
    """Execution in torch. Stored arrays are put on `device`; where that is the CPU they are not copied."""

    def __init__(self, device: str = "cpu") -> None:
        import torch  # here, because choosing and exporting a table needs no torch

        self._torch = torch
        self._device = device

    def scope(self, name: str) -> Self:  # noqa: D102
        return self

    def param(self, name: str, array: npt.NDArray[Any]) -> Any:  # noqa: D102
        return self._torch.as_tensor(np.ascontiguousarray(array), device=self._device)

    def wrap(self, rows: Any, n: int) -> Any:  # noqa: D102
        ids = rows.long()
        where = self._torch.where
        return where((ids >= -n) & (ids < n), where(ids < 0, ids + n, ids), NO_ROW)

    def digit(self, numbers: Any, strides: Any, base: int | None) -> Any:  # noqa: D102
        quotients = numbers.long() // strides
        return quotients if base is None else quotients % base

    def pick(self, array: Any, ids: Any) -> Any:  # noqa: D102
        return array[ids].long()

    def within(self, ids: Any, start: int, count: int | None) -> Any:  # noqa: D102
        return (ids - start).clamp(0, None if count is None else count - 1)

    def gather(self, table: Any, rows: Any) -> Any:  # noqa: D102
        return table[rows].float()

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:  # noqa: D102
        return lut[packed[rows].int()].flatten(-2)[..., :dim]

    def lookup(self, levels: Any, codes: Any) -> Any:  # noqa: D102
        return levels[codes.long()]

    def add(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a + b

    def mul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a * b

    def repeat(self, a: Any, columns: int, count: int, dim: int) -> Any:  # noqa: D102
        return a.repeat_interleave(count, dim=-1)[..., :dim]

    def bits(self, a: Any, starts: Sequence[int], count: int) -> Any:  # noqa: D102
        scales = self._torch.tensor([2.0**-start for start in starts], device=a.device)
        return self._torch.floor(a * scales) % float(1 << count)

    def successive(self, levels: Any, window: int, bits: int, count: int) -> Any:  # noqa: D102
        columns = [levels.repeat_interleave(after).tile(before) for before, after in spreads(bits, count)]
        return self._torch.stack(columns, 1) if count > 1 else levels

    def roll(self, a: Any, count: int, columns: int) -> Any:  # noqa: D102
        return a.roll(count, -1)

    def reshape(self, a: Any, last: int, shape: tuple[int, ...]) -> Any:  # noqa: D102
        return a.reshape(*a.shape[:-last], *shape)

    def cut(self, a: Any, dim: int) -> Any:  # noqa: D102
        return a[..., :dim]

    def add_codewords(self, codebooks: Any, codes: Any, count: int) -> Any:  # noqa: D102
        first = self._torch.arange(0, len(codebooks), len(codebooks) // count, device=codebooks.device)
        return codebooks[codes.long() + first].sum(-2)

    def from_row(self, ids: Any, start: int, a: Any, b: Any) -> Any:  # noqa: D102
        return self._torch.where((ids >= start)[..., None], a, b)

    def replace(self, a: Any, ids: Any, rows: Any, table: Any) -> Any:  # noqa: D102
        hit = ids[..., None] == rows
        return self._torch.where(hit.any(-1)[..., None], table.float()[hit.int().argmax(-1)], a)

    def matmul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a @ b.float()
