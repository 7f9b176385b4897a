"""Trellis-coded quantization with a ring-shaped trellis and learned levels.

Trellis-coded quantization: Marcellin and Fischer 1990. The trellis in which a value is looked up by the last bits of
the stream, which makes the decoder a lookup, is the bitshift trellis of QTIP (Tseng et al., NeurIPS 2024, §3.1). Rows
that begin in the state in which they end (tail-biting) need no bits for it. Ours are the levels: learned by alternating
Viterbi encoding and centroids (as Stewart, Gray and Linde 1982 design trellis waveform coders).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from compressors.base import Compressor
from compressors.bitpack import plane_bytes
from compressors.kinds import Trellis
from compressors.payload import Payload
from compressors.table import WORKERS, Table, sample_rows

Float32s = npt.NDArray[np.float32]

PER_LEVEL = 256
"""Values of the sample for each level."""

ROUNDS = 20
"""Rounds of encoding and centroids."""

PARTS = 16
"""Parts of the sample that are encoded side by side; fixed, so that sums do not depend on the number of threads."""

MEMORY = 6
"""Windows after which a choice no longer matters to the best path."""


@dataclass(frozen=True)
class TrellisCode(Compressor):
    """Values picked by a window over the bits of the row, which Viterbi's algorithm chooses together.

    At its best where all values are alike: on rows that were rotated and normalised (`Spectral`).

    Attributes:
        bits: 1, 2 or 4 per entry.
        window: bits that pick a value, from 8 to 14: each one more doubles the time and the levels.
    """

    bits: int
    window: int = 10

    def __post_init__(self) -> None:
        if self.bits not in (1, 2, 4) or isinstance(self.bits, bool):
            raise ValueError(f"bits = {self.bits!r}: a trellis code takes 1, 2 or 4")
        if isinstance(self.window, bool) or not isinstance(self.window, int) or not 8 <= self.window <= 14:
            raise ValueError(f"window = {self.window!r}: must be an integer from 8 to 14")

    @property
    def name(self) -> str:  # noqa: D102
        return f"trellis{self.window}-b{self.bits}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return n * plane_bytes(d, self.bits) + 4 * (1 << self.window)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        # In units of the largest entry: squares of entries of 1e30 would overflow.
        unit = np.float32(table.abs_max or 1.0)
        sample = sample_rows(table, -(-PER_LEVEL * (1 << self.window) // table.d), rng) / unit
        levels = self._learn(sample, rng)
        packed = np.empty((table.n, plane_bytes(table.d, self.bits)), dtype=np.uint8)

        def encode(rows: slice) -> None:
            block = table.read(rows).astype(np.float32, copy=False) / unit
            packed[rows] = self._pack(self._windows(block, levels))

        for _ in table.each(encode):
            pass
        return Trellis(packed, levels * unit, self.bits, table.d)

    def _windows(self, rows: Float32s, levels: Float32s) -> npt.NDArray[np.uint32]:
        """(m, steps) windows of the rows (m, d)."""
        from compressors.viterbi import encode  # here, because what is compiled takes a second to load

        steps = plane_bytes(rows.shape[1], self.bits) * 8 // self.bits
        reach = min(steps // 2, MEMORY * self.window)
        found: npt.NDArray[np.uint32] = encode(np.ascontiguousarray(rows), levels, self.bits, steps, reach)
        return found

    def _pack(self, windows: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """The rows' bytes: the lowest bits of each window, the first value's highest."""
        codes = (windows & ((1 << self.bits) - 1)).astype(np.uint8).reshape(len(windows), -1, 8 // self.bits)
        shifts = np.arange(8 - self.bits, -1, -self.bits, dtype=np.uint8)
        packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(codes << shifts, axis=2)
        return packed

    def _learn(self, sample: Float32s, rng: np.random.Generator) -> Float32s:
        """(2**window,) levels for the rows of the sample, from shuffled quantiles of a normal distribution on."""
        count, d = 1 << self.window, sample.shape[1]
        quantiles = ndtri((np.arange(count) + 0.5) / count)
        levels: Float32s = (rng.permutation(quantiles) * sample.std()).astype(np.float32)
        parts = np.array_split(sample, PARTS)

        def sums(part: Float32s) -> npt.NDArray[np.float64]:
            """(2, 2**window): sum and number of the values of each level."""
            windows = self._windows(part, levels)[:, :d].ravel()
            return np.stack([np.bincount(windows, part.ravel(), count), np.bincount(windows, minlength=count)])

        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in range(ROUNDS):
                moment, mass = np.sum(list(pool.map(sums, parts)), axis=0)
                levels = np.where(mass > 0, moment / np.maximum(mass, 1), levels).astype(np.float32)
        return levels
