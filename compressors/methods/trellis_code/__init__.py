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

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import WORKERS, Table, sample_rows
from eigenselect.compressors.data.views import RemainderTable, ScaledTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths, row_bytes
from eigenselect.compressors.payloads.composed import Sum
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.compressors.settings import check_count

Float32s = npt.NDArray[np.float32]
Windows = npt.NDArray[np.uint32]

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
        bits: 1 to 7 per entry. 3, 5, 6 and 7 are codes of 4, 2 and 1, each for what those before it leave.
        window: bits that pick a value, from 8 to 16: each one more doubles the time and the levels.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, TrellisCode
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = TrellisCode(2, window=8).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        1824
    """

    bits: int
    window: int = 10

    effort = 3.0

    def __post_init__(self) -> None:
        check_count(self, "bits", most=7, hint="at 8 use KMeans")
        check_count(self, "window", 8, 16)

    @property
    def name(self) -> str:  # noqa: D102
        return f"trellis{self.window}-b{self.bits}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return n * row_bytes(d, self.bits) + len(plane_widths(self.bits)) * 4 * (1 << self.window)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        # Compiled here: in a thread of a pool there is nobody to report to.
        from eigenselect.compressors.methods.trellis_code import viterbi  # noqa: F401

        parts: list[Payload] = []
        for width in plane_widths(self.bits):
            part = self._coded(table, width, rng)
            table = RemainderTable(table, part.read)
            parts.append(part)
        return parts[0] if len(parts) == 1 else Sum(tuple(parts))

    def _coded(self, table: Table, bits: int, rng: np.random.Generator) -> Trellis:
        scaled = ScaledTable.by_largest(table)
        sample = sample_rows(scaled, -(-PER_LEVEL * (1 << self.window) // table.d), rng)
        levels = _learn(sample, bits, self.window, rng)
        packed = np.empty((table.n, plane_bytes(table.d, bits)), dtype=np.uint8)

        def encode(rows: slice) -> None:
            packed[rows] = _pack(_windows(scaled.read(rows), levels, bits), bits)

        table.over(encode)
        return Trellis(packed, levels * scaled.unit, bits, table.d)


def _windows(rows: Float32s, levels: Float32s, bits: int) -> Windows:
    """(m, steps) windows of the rows (m, d)."""
    from eigenselect.compressors.methods.trellis_code.viterbi import (
        encode,  # here, because the compiler takes a second to load
    )

    steps = plane_bytes(rows.shape[1], bits) * 8 // bits
    reach = min(steps // 2, MEMORY * (len(levels).bit_length() - 1))
    windows: Windows = encode(np.ascontiguousarray(rows), levels, bits, steps, reach)
    return windows


def _pack(windows: Windows, bits: int) -> npt.NDArray[np.uint8]:
    """The rows' bytes: the lowest bits of each window, those of a byte's first value highest."""
    codes = (windows & ((1 << bits) - 1)).astype(np.uint8).reshape(len(windows), -1, 8 // bits)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(codes << shifts, axis=2)
    return packed


def _learn(sample: Float32s, bits: int, window: int, rng: np.random.Generator) -> Float32s:
    """(2**window,) levels for the rows of the sample, from shuffled quantiles of a normal distribution on."""
    count, d = 1 << window, sample.shape[1]
    quantiles = ndtri((np.arange(count) + 0.5) / count)
    levels: Float32s = (rng.permutation(quantiles) * sample.std()).astype(np.float32)
    parts = np.array_split(sample, PARTS)

    def sums(part: Float32s) -> npt.NDArray[np.float64]:
        """(2, 2**window): sum and number of the values of each level."""
        windows = _windows(part, levels, bits)[:, :d].ravel()
        return np.stack([np.bincount(windows, part.ravel(), count), np.bincount(windows, minlength=count)])

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(ROUNDS):
            moment, mass = np.sum(list(pool.map(sums, parts)), axis=0)
            levels = np.where(mass > 0, moment / np.maximum(mass, 1), levels).astype(np.float32)
    return levels
