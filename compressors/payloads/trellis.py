"""Values picked by a window that slides along the bits of their row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import Float32s, Payload, check_array
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Trellis(Payload):
    """Each value is picked by a window over the bits of its row: its own `bits` bits and those before them.

    The bits of a byte count from the most significant one; before the first byte comes the last one.

    Arrays:
        packed: (n, w) uint8, w = ceil(dim * bits / 8).
        levels: (2**window,) float32, window from bits to 16 + bits.

    Attributes:
        bits: of a value, 1, 2 or 4.
        dim: columns k.
    """

    packed: npt.NDArray[np.uint8]
    levels: Float32s
    bits: int
    dim: int

    def __post_init__(self) -> None:
        check_array("Trellis.packed", self.packed, 2, "uint8")
        check_array("Trellis.levels", self.levels, 1, "float32")
        if self.bits not in (1, 2, 4) or isinstance(self.bits, bool):
            raise ValueError(f"Trellis.bits = {self.bits!r}: it must be 1, 2 or 4")
        if (
            not len(self.levels)
            or len(self.levels) != 1 << self.window
            or not self.bits <= self.window <= 16 + self.bits
        ):
            raise ValueError(
                f"Trellis.levels has {len(self.levels)} levels: it must have a power of two from "
                f"{1 << self.bits} to {1 << (16 + self.bits)}"
            )
        if not isinstance(self.dim, int) or self.dim < 1 or self.packed.shape[1] != -(-self.dim * self.bits // 8):
            raise ValueError(f"Trellis.dim = {self.dim!r} does not go with {self.packed.shape[1]} bytes a row")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.packed)

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def window(self) -> int:
        """Bits of a window."""
        return len(self.levels).bit_length() - 1

    @property
    def width(self) -> int:  # noqa: D102
        return 2 * int(self.packed.shape[1]) * 8 // self.bits  # an index is an int64: it takes two values' room

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        packed, levels = ops.param("packed", self.packed), ops.param("levels", self.levels)
        return ops.trellis_gather(packed, levels, rows, self.bits, self.dim)
