"""Windows that slide along the bits of a row of bytes, which form a ring."""

from __future__ import annotations

from typing import NamedTuple


class Windows(NamedTuple):
    """The windows that end in a byte, over the number that the byte and those before it make, the byte lowest.

    Attributes:
        step: bits from a window to the next: 1, 2 or 4.
        size: bits of a window.
    """

    step: int
    size: int

    @property
    def before(self) -> int:
        """Bytes before a byte that its windows reach into."""
        return -(-(self.size - self.step) // 8)

    def spread(self, count: int) -> int:
        """Numbers that the bits of `count` successive windows make."""
        return 1 << self.size + self.step * (count - 1)

    @property
    def starts(self) -> tuple[int, ...]:
        """The lowest bit of each window, the first window first."""
        return tuple(range(8 - self.step, -1, -self.step))
