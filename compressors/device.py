"""Where large sums and searches are computed: by numpy and compiled loops, or by torch on a device.

It is one for the whole process: the work of one candidate is spread over threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

_device: str | None = None


def used() -> str | None:
    """What torch calls the device; None for numpy."""
    return _device


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """Work is done there meanwhile.

    Args:
        name: what torch calls it; None for numpy.
    """
    global _device
    before, _device = _device, name
    try:
        yield
    finally:
        _device = before


def check_device(name: str | None) -> None:
    """Raise a ValueError unless it is `cuda`, and torch has it; None is numpy."""
    if name is None:
        return
    if name != "cuda":
        raise ValueError(f"device = {name!r}: must be cuda or None")
    import torch

    if not torch.cuda.is_available():
        raise ValueError(
            f"device = {name!r}: torch {torch.__version__} sees no CUDA device here; leave it out to compute without"
        )


def put(array: npt.NDArray[Any]) -> Any:
    """The array as a torch tensor on the device that is used."""
    import torch

    own = np.ascontiguousarray(array) if array.flags.writeable else array.copy()  # torch warns of what is read-only
    return torch.as_tensor(own, device=_device)


def wide(rows: Any) -> Any:
    """Rows in float64 where they are used: an array, or a tensor on the device."""
    if _device is None:
        return rows.astype(np.float64)
    return (put(rows) if isinstance(rows, np.ndarray) else rows).double()


def back(values: Any) -> npt.NDArray[Any]:
    """An array again."""
    return np.asarray(values if isinstance(values, np.ndarray) else values.cpu())


def library(values: Any) -> Any:
    """What has `einsum`, `sqrt` and `where` for an array or a tensor."""
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch


def product(rows: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The product of the two, whose sums are in another order on each device."""
    if _device is None:
        return rows @ matrix
    return back(put(rows) @ put(matrix))
