"""The verbs of a decode, executed by torch.

Apart from the others, because choosing and exporting a table needs no torch.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from eigenselect.compressors.payloads.ops import NO_ROW
from eigenselect.compressors.payloads.windows import Windows


class TorchOps:
    """Execution in torch. Stored arrays are put on `device`; where that is the CPU they are not copied."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def scope(self, name: str) -> Self:  # noqa: D102
        return self

    def param(self, name: str, array: npt.NDArray[Any]) -> Tensor:  # noqa: D102
        return torch.as_tensor(np.ascontiguousarray(array), device=self._device)

    def wrap(self, rows: Tensor, n: int) -> Tensor:  # noqa: D102
        ids = rows.long()
        return torch.where((ids >= -n) & (ids < n), torch.where(ids < 0, ids + n, ids), NO_ROW)

    def digit(self, numbers: Tensor, strides: Tensor, base: int | None) -> Tensor:  # noqa: D102
        quotients = numbers.long() // strides
        return quotients if base is None else quotients % base

    def pick(self, array: Tensor, ids: Tensor) -> Tensor:  # noqa: D102
        return array[ids].long()

    def within(self, ids: Tensor, start: int, count: int | None) -> Tensor:  # noqa: D102
        return (ids - start).clamp(0, None if count is None else count - 1)

    def gather(self, table: Tensor, rows: Tensor) -> Tensor:  # noqa: D102
        return table[rows].float()

    def dequantize_gather(self, packed: Tensor, lut: Tensor, rows: Tensor, dim: int) -> Tensor:  # noqa: D102
        return lut[packed[rows].int()].flatten(-2)[..., :dim]

    def lookup(self, levels: Tensor, codes: Tensor) -> Tensor:  # noqa: D102
        return levels[codes.long()]

    def trellis_gather(self, packed: Tensor, levels: Tensor, rows: Tensor, bits: int, dim: int) -> Tensor:  # noqa: D102
        picked, windows = packed[rows], Windows(bits, len(levels).bit_length() - 1)
        numbers = picked.int()
        for back in range(1, windows.before + 1):
            numbers = numbers | picked.roll(back, -1).int() << 8 * back
        columns = [levels[numbers >> start & len(levels) - 1] for start in windows.starts]
        return torch.stack(columns, -1).flatten(-2)[..., :dim]

    def columns(self, a: Tensor, places: Tensor) -> Tensor:  # noqa: D102
        return a[..., places]

    def add(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return a + b

    def mul(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return a * b

    def repeat(self, a: Tensor, columns: int, count: int, dim: int) -> Tensor:  # noqa: D102
        return a.repeat_interleave(count, dim=-1)[..., :dim]

    def reshape(self, a: Tensor, last: int, shape: tuple[int, ...]) -> Tensor:  # noqa: D102
        return a.reshape(*a.shape[:-last], *shape)

    def cut(self, a: Tensor, dim: int) -> Tensor:  # noqa: D102
        return a[..., :dim]

    def add_codewords(self, codebooks: Tensor, codes: Tensor, count: int) -> Tensor:  # noqa: D102
        first = torch.arange(0, len(codebooks), len(codebooks) // count, device=codebooks.device)
        return codebooks[codes.long() + first].sum(-2)

    def from_row(self, ids: Tensor, start: int, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return torch.where((ids >= start)[..., None], a, b)

    def replace(self, a: Tensor, ids: Tensor, rows: Tensor, table: Tensor) -> Tensor:  # noqa: D102
        hit = ids[..., None] == rows
        return torch.where(hit.any(-1)[..., None], table.float()[hit.int().argmax(-1)], a)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return a @ b.float()

    def sum_bags(self, a: Tensor, bags: Tensor) -> Tensor:  # noqa: D102
        return embedding_bag(torch.arange(len(a), device=a.device), a, bags.long(), mode="sum")
