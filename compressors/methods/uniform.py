"""Uniform quantization with a fitted clip threshold (May et al., NeurIPS 2019, App. A.1 and Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.scalar import affine, affine_nbytes, encode
from eigenselect.compressors.data.histogram import Histogram
from eigenselect.compressors.data.table import Floats, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.settings import check_choice, check_count

TOLERANCE = 0.01
"""Width at which the search for the clip threshold ends, relative to its upper end.

The published code has 0.01 absolute, which zeroes a table of small entries; relative to the largest entry it would be
coarse where a few outliers are hundreds of thresholds away.
"""

SMALLEST = 1e-3
"""Upper ends below this share of the largest entry count as this share: the histogram is no finer."""


def golden_section(loss: Callable[[float], float], high: float) -> float:
    """A minimum of `loss` in [0, high] to within `TOLERANCE`, by golden-section search."""
    ratio = (5**0.5 - 1) / 2
    low, floor = 0.0, SMALLEST * high
    left, right = high - ratio * high, ratio * high
    loss_left, loss_right = loss(left), loss(right)
    while high - low > TOLERANCE * max(high, floor):
        if loss_left < loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    return (low + high) / 2


def clip_threshold(histogram: Histogram, bits: int) -> float:
    """The r in [0, abs_max] that minimises the error of nearest rounding to the grid of [-r, r] (Algorithm 1).

    The grid is symmetric, so the error is summed over absolute values.
    """
    if histogram.abs_max == 0:
        return 0.0
    means, counts = histogram.folded()
    means = means / histogram.abs_max
    top = (1 << bits) - 1

    def loss(r: float) -> float:
        nearest = np.rint((np.minimum(means, r) / r + 1) * (top / 2)) * (2 * r / top) - r
        return float(counts @ (nearest - means) ** 2)

    return golden_section(loss, 1.0) * histogram.abs_max


@dataclass(frozen=True)
class Uniform(Compressor):
    """2**bits equal steps over [-r, r], the same for every entry.

    Levels are -r + j * 2r / (2**bits - 1); r minimises the error of nearest rounding, whichever rounding is used.
    Zero is not a level: a zero row decodes to entries of ±r / (2**bits - 1).

    Attributes:
        bits: 1 to 8 per entry.
        rounding: `nearest` (ties to even) or `stochastic` (unbiased between the two neighbouring levels).

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, Uniform
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = Uniform(4).compress(table, np.random.default_rng(0))
        >>> payload.nbytes, len(np.unique(payload.read(slice(0, 100))))
        (1664, 16)
    """

    bits: int
    rounding: Literal["nearest", "stochastic"] = "nearest"

    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "bits", most=8)
        check_choice(self, "rounding", ("nearest", "stochastic"))

    @property
    def name(self) -> str:  # noqa: D102
        return f"uniform-b{self.bits}" + ("-stochastic" if self.rounding == "stochastic" else "")

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return affine_nbytes(n, d, self.bits)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        r = np.float32(clip_threshold(table.histogram, self.bits))
        top = (1 << self.bits) - 1

        def codes_of(block: Floats, _: slice) -> npt.NDArray[np.uint8]:
            if r == 0:
                return np.zeros(block.shape, dtype=np.uint8)
            position = (np.clip(block, -r, r) / r + 1) * np.float32(top / 2)
            if self.rounding == "nearest":
                codes = np.rint(position)
            else:
                codes = np.floor(position)
                codes += rng.random(block.shape, dtype=np.float32) < position - codes
            return np.asarray(codes, dtype=np.uint8)

        planes = encode(table, self.bits, codes_of, drawn=self.rounding == "stochastic")
        return affine(planes, self.bits, table.d, zero=top / 2, scale=2 * float(r) / top)
