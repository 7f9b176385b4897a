"""Rows stored as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import Payload, check_array
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Dense(Payload):
    """Rows stored as they are.

    Arrays:
        table: (n, k) float32 or float16.

    Attributes:
        unit: what a stored 1 stands for, a positive float: float16 is narrow, and tables of 1e30 exist.
    """

    table: npt.NDArray[np.floating]
    unit: float = 1.0

    def __post_init__(self) -> None:
        check_array("Dense.table", self.table, 2, "float32", "float16")
        limits = np.finfo(np.float32)
        if not isinstance(self.unit, float) or not float(limits.tiny) <= self.unit <= float(limits.max):
            raise ValueError(f"Dense.unit = {self.unit!r}: it must be a positive number that float32 holds")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.table)

    @property
    def k(self) -> int:  # noqa: D102
        return int(self.table.shape[1])

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        stored = ops.gather(ops.param("table", self.table), rows)
        if self.unit == 1:
            return stored
        return ops.mul(stored, ops.param("unit", np.array([self.unit], np.float32)))
