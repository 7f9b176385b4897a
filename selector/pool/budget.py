"""Memory budgets as people write them, in exact bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

UNITS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}

CONSTANTS_BYTES = 16 << 10
"""What a rate allows beside the rows: codebooks and the like."""

_BUDGET = re.compile(r"(?P<number>-?\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[a-z]*|%)", re.IGNORECASE)


def size(nbytes: int) -> str:
    """Bytes in few characters.

    >>> size(6_500_000), size(84_096), size(1_234_567_890), size(96)
    ('6.5 MB', '84.1 kB', '1234.6 MB', '96 bytes')
    """
    if nbytes < 1_000:
        return f"{nbytes} bytes"
    number, unit = (nbytes / 1e6, "MB") if nbytes >= 1_000_000 else (nbytes / 1e3, "kB")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """A time in few characters.

    >>> duration(0.04), duration(7.25), duration(200), duration(9000)
    ('0.1 s', '7.2 s', '3.3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(seconds, 0.1):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Budget:
    """A budget: a number of bytes, a share of the float32 table, or a compression rate.

    Attributes:
        text: as given.
        number: the number in it, exact.
        unit: what it counts, in lower case: a key of `UNITS`, `%` or `x`.
    """

    text: str
    number: Fraction
    unit: str

    @staticmethod
    def parse(value: object) -> Budget:
        """Read `16MB`, `16MiB`, `12.5%`, `8x` or a plain number of bytes.

        Raises:
            ValueError: anything else, or not above zero.
        """
        # A configuration file may have made a number of it: 1e6 is a float there.
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value).strip()
        match = _BUDGET.fullmatch(text)
        unit = match["unit"].lower() if match else ""
        if match is None or unit not in {*UNITS, "%", "x"}:
            raise ValueError(
                f"budget = {text!r} cannot be read: give bytes (16000000), a size (16MB, 16MiB), "
                "a share of the float32 table (12.5%) or a compression rate (8x)"
            )
        number = Fraction(match["number"])
        if number <= 0:
            raise ValueError(f"budget = {text!r} must be above zero")
        return Budget(text, number, unit)

    def nbytes(self, n: int, d: int) -> int:
        """Bytes that the budget allows for an (n, d) table.

        A share is of the 4nd bytes of float32. A rate is per row, rounded up to whole bytes, plus 16 KiB for constants.
        """
        if self.unit == "x":
            row: int = math.ceil(Fraction(4 * d) / self.number)
            return n * row + CONSTANTS_BYTES
        if self.unit == "%":
            return int(self.number * 4 * n * d / 100)
        return int(self.number * UNITS[self.unit])

    def of_all(self, shapes: Sequence[tuple[int, int]]) -> int:
        """Bytes that the budget allows for (n, d) tables together: a share is of all, a rate is that of each.

        >>> Budget.parse("25%").of_all([(10, 3), (5, 3)]), Budget.parse("64").of_all([(10, 3), (5, 3)])
        (45, 64)
        """
        if self.unit == "x":
            return sum(self.nbytes(n, d) for n, d in shapes)
        return self.nbytes(sum(n * d for n, d in shapes), 1)
