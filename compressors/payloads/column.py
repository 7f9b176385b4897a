"""One column of few bits: the codes of several rows in a byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import Float32s, Payload, check_array
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Column(Payload):
    """One column of few levels: row i's code is code i % r of byte i // r, of r = 8 / m codes of m bits, lowest first.

    Arrays:
        packed: (ceil(count / r),) uint8.
        levels: (2**m, 1) float32, m in {1, 2, 4}.

    Attributes:
        count: rows n.
    """

    packed: npt.NDArray[np.uint8]
    levels: Float32s
    count: int

    def __post_init__(self) -> None:
        check_array("Column.packed", self.packed, 1, "uint8")
        check_array("Column.levels", self.levels, 2, "float32")
        if self.levels.shape not in ((2, 1), (4, 1), (16, 1)):
            raise ValueError(f"Column.levels is {self.levels.shape}: it must be one column of 2, 4 or 16")
        if not isinstance(self.count, int) or self.count < 1 or len(self.packed) != -(-self.count // self._codes):
            raise ValueError(f"Column.count = {self.count!r} does not go with {len(self.packed)} bytes")

    @property
    def n(self) -> int:  # noqa: D102
        return self.count

    @property
    def k(self) -> int:  # noqa: D102
        return 1

    @property
    def width(self) -> int:  # noqa: D102
        return 2  # an int64

    @property
    def _codes(self) -> int:
        """In a byte."""
        return 8 // (len(self.levels).bit_length() - 1)

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        ids, size = ops.wrap(rows, self.count), len(self.levels)
        at = ops.digit(ids, ops.param("codes", np.array(self._codes)), None)
        byte = ops.pick(ops.param("packed", self.packed), at)
        place = ops.digit(ids, ops.param("one", np.array(1)), self._codes)
        below = ops.pick(ops.param("below", size ** np.arange(self._codes)), place)
        return ops.lookup(ops.param("levels", self.levels), ops.digit(byte, below, size))
