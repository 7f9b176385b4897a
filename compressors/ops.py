"""The verbs that a payload's decode is written in, executed by numpy or by torch.

`export.graph.OnnxOps` is the third execution: it appends nodes to a graph. A decode uses nothing but these verbs, so
that what is scored, what is run in torch and what is shipped are one procedure.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt


class Ops(Protocol):
    """The verbs. `rows` are ids of any integer type; a decoded value is (batch, k) float32."""

    def scope(self, name: str) -> Self:
        """The same verbs, with the names of parameters prefixed by `name`: a part of a payload."""

    def param(self, name: str, array: npt.NDArray[Any]) -> Any:
        """A stored array."""

    def gather(self, table: Any, rows: Any) -> Any:
        """Rows of a (n, k) float table, as float32."""

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:
        """Packed rows through a byte lookup: lut[packed[rows]], flattened and cut to `dim` columns.

        `packed` is (n, w) uint8 and `lut` is (256, v) float32 with w*v >= dim.
        """

    def lookup(self, levels: Any, codes: Any) -> Any:
        """Levels (m,) picked by whole-numbered float codes of any shape."""

    def add(self, a: Any, b: Any) -> Any:
        """Elementwise sum."""

    def mul(self, a: Any, b: Any) -> Any:
        """Elementwise product; a column (batch, 1) scales rows."""

    def repeat(self, a: Any, columns: int, count: int, dim: int) -> Any:
        """Each of the `columns` columns `count` times in a row, cut to `dim` columns."""

    def matmul(self, a: Any, b: Any) -> Any:
        """(batch, j) times (j, k); b may be float16 and is widened."""


class NumpyOps:
    """The reference execution. `rows` may also be a slice, which is read without a copy."""

    def scope(self, name: str) -> NumpyOps:  # noqa: D102
        return self

    def param(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: D102
        return array

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

    def matmul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a @ b.astype(np.float32, copy=False)


class TorchOps:
    """Execution in torch on `device`. One instance serves one payload: its arrays move to the device once."""

    def __init__(self, device: str = "cpu") -> None:
        import torch  # here, because choosing and exporting a table needs no torch

        self._torch = torch
        self._device = device
        self._params: dict[str, Any] = {}
        self._prefix = ""

    def scope(self, name: str) -> TorchOps:  # noqa: D102
        inner = TorchOps(self._device)
        inner._params, inner._prefix = self._params, f"{self._prefix}{name}."
        return inner

    def param(self, name: str, array: npt.NDArray[Any]) -> Any:  # noqa: D102
        key = self._prefix + name
        if key not in self._params:
            self._params[key] = self._torch.as_tensor(np.ascontiguousarray(array), device=self._device)
        return self._params[key]

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

    def matmul(self, a: Any, b: Any) -> Any:  # noqa: D102
        return a @ b.float()
