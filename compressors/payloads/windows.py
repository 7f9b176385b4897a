"""Windows that slide along the bits of a row: which bits of which number each of them takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Windows:
    """Windows over a row that is given as overlapping whole numbers, one for each of its bytes.

    A number holds a byte and, above it, the bits before that byte. The 8 / step windows of a number end in its byte,
    the last one with the number's lowest bit.

    Attributes:
        numbers: in a row, w.
        held: bits of a number: 8, 16 or 24.
        size: bits of a window.
        step: bits from a window to the next: 1, 2 or 4.
        at_once: successive windows that one lookup serves, a divisor of 8 / step.
    """

    numbers: int
    held: int
    size: int
    step: int
    at_once: int

    @property
    def columns(self) -> int:
        """Windows of a row."""
        return self.numbers * 8 // self.step

    @property
    def taken(self) -> int:
        """Bits that one lookup takes: those of `at_once` successive windows."""
        return self.size + self.step * (self.at_once - 1)

    @property
    def starts(self) -> tuple[int, ...]:
        """The lowest bit of each lookup of a number, the first windows first."""
        apart = self.step * self.at_once
        return tuple(range(8 - apart, -1, -apart))

    @property
    def whole(self) -> bool:
        """Whether a number is one lookup, with all of its bits."""
        return self.starts == (0,) and self.taken == self.held

    @property
    def spreads(self) -> list[tuple[int, int]]:
        """For each of the windows of one lookup, how many numbers the bits before and after it make."""
        return [(1 << self.step * i, 1 << self.step * (self.at_once - 1 - i)) for i in range(self.at_once)]

    def table(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(2**taken, at_once) float32, what the windows of one lookup pick by the bits of them all; `levels` of one."""
        if self.at_once == 1:
            return levels
        return np.stack([np.tile(levels.repeat(after), before) for before, after in self.spreads], axis=1)
