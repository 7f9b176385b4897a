"""Rows decoded by torch on the device that is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from eigenselect.compressors.data.stored import Rows
from eigenselect.compressors.device import put, used
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.torch_ops import TorchOps


class _Held(TorchOps):
    """Execution with arrays that stay on the device, each by its name."""

    def __init__(self, device: str, prefix: str = "", held: dict[str, Tensor] | None = None) -> None:
        super().__init__(device)
        self._prefix, self._held = prefix, {} if held is None else held

    def scope(self, name: str) -> _Held:
        return _Held(self._device, f"{self._prefix}{name}.", self._held)

    def param(self, name: str, array: npt.NDArray[Any]) -> Tensor:
        name = self._prefix + name
        if name not in self._held:
            self._held[name] = put(array)
        return self._held[name]


def reader(payload: Payload) -> Callable[[Rows], Any]:
    """What reads a range of rows as a tensor on the device that is used, and single rows by numpy.

    The payload's arrays stay on the device for as long as the reader is there.
    """
    device = used()
    assert device is not None, "without one, `payload.read` is the reader"
    ops = _Held(device)

    def read(rows: Rows) -> Any:
        if not isinstance(rows, slice):
            return payload.read(rows)
        with torch.no_grad():
            return payload.decode(torch.arange(rows.start, rows.stop, device=device), ops)

    return read
