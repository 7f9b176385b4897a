"""Trellis-coded quantization with a ring-shaped trellis and learned levels.

Trellis-coded quantization: Marcellin and Fischer 1990. The trellis in which a value is looked up by the last bits of
the stream, which makes the decoder a lookup, is the bitshift trellis of QTIP (Tseng et al., NeurIPS 2024, §3.1). Rows
that begin in the state in which they end (tail-biting) need no bits for it. Ours are the levels: learned by alternating
Viterbi encoding and centroids (as Stewart, Gray and Linde 1982 design trellis waveform coders).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data import table as tables
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import RemainderTable, ScaledTable
from eigenselect.compressors.device import used
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths, row_bytes
from eigenselect.compressors.payloads.composed import Columns, Sum
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.compressors.settings import check_count, check_one_given

Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Windows = npt.NDArray[np.uint32]

PER_LEVEL = 256
"""Values of the sample for each level."""

ROUNDS = 10
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
        row: in place of bits: bytes of a row, whose bits the values share as evenly as whole bits allow, 0 to 8 each.
            A value with one bit more is not more exact: windows overlap.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, TrellisCode
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> TrellisCode(2, window=8).compress(table, np.random.default_rng(0)).nbytes
        1824
        >>> TrellisCode(row=11, window=8).compress(table, np.random.default_rng(0)).nbytes
        2252
    """

    bits: int | None = None
    window: int = 10
    row: int | None = None

    effort = 3.0
    by_rows = True

    def __post_init__(self) -> None:
        check_one_given(self, "bits", "row")
        if self.bits is not None:
            check_count(self, "bits", most=7, hint="at 8 use KMeans")
        if self.row is not None:
            check_count(self, "row")
        check_count(self, "window", 8, 16)

    @property
    def name(self) -> str:  # noqa: D102
        return f"trellis{self.window}-" + (f"b{self.bits}" if self.row is None else f"row{self.row}")

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        if self.bits is not None:
            return n * row_bytes(d, self.bits) + len(plane_widths(self.bits)) * 4 * (1 << self.window)
        assert self.row is not None
        if self.row > d:
            raise ValueError(f"TrellisCode row = {self.row} for {d} columns: must be at most {d}, 8 bits each")
        return n * self.row + 4 * d + 4 * (1 << self.window)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        _viterbi()  # compiled here: in a thread of a pool there is nobody to report to
        if self.row is not None:
            return shared_code(table, shares(np.ones(table.d), self.row), np.ones(table.d), self.window, rng)
        assert self.bits is not None
        parts: list[Payload] = []
        for width in plane_widths(self.bits):
            steps = plane_bytes(table.d, width) * 8 // width
            weights = (np.arange(steps) < table.d).astype(np.float64)  # bits to spare cost nothing
            packed, levels = _coded(table, np.full(steps, width), weights, self.window, rng)
            part = Trellis(packed, levels, width, table.d)
            table = RemainderTable(table, part.read)
            parts.append(part)
        return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def shared_code(
    table: Table, bits: Ints, weights: npt.NDArray[np.float64], window: int, rng: np.random.Generator
) -> Columns:
    """The rows (n, d) in values of `bits` (d,) bits each, from 0 to 8, whose squared errors have `weights` (d,).

    What is stored is a code with a window at each bit, or as far apart as may be, of which those that end with the
    values' bits are picked.
    """
    packed, levels = _coded(table, bits, weights, window, rng)
    step = math.gcd(*bits.tolist(), 4)
    every = Trellis(packed, levels, step, packed.shape[1] * 8 // step)
    return Columns(every, (np.cumsum(bits) // step - 1).astype(np.int32))


def shares(wanted: npt.NDArray[np.float64], row: int) -> Ints:
    """Whole bits of each value, 8 * row together, of the numbers `wanted`: what is cut off one goes to those after."""
    ends = np.ceil(np.cumsum(wanted) * (8 * row / wanted.sum()) - 1e-6).astype(np.int64)
    bits: Ints = np.diff(ends, prepend=0)
    return bits


def _coded(
    table: Table, bits: Ints, weights: npt.NDArray[np.float64], window: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Float32s]:
    """(n, w) uint8 rows and (2**window,) float32 levels of the values, of `bits` bits each.

    Args:
        table: (n, d).
        bits: (steps,) from 0 to 8, those of the d values, and of what is left of the row.
        weights: (steps,) of the squared errors.
        window: bits that pick a value.
        rng: for the sample and the first levels.
    """
    scaled = ScaledTable.by_largest(table)
    ring = _Row(bits, weights)
    sample = sample_rows(scaled, -(-PER_LEVEL * (1 << window) // table.d), rng)
    levels = _learn(sample, ring, window, rng)

    def encode(rows: slice) -> npt.NDArray[np.uint8]:
        return ring.pack(ring.windows(scaled.read(rows), levels))

    return table.make((int(bits.sum()) // 8,), np.uint8, encode), levels * scaled.unit


@dataclass(frozen=True)
class _Row:
    """How the bits of a row are shared.

    Attributes:
        bits: (steps,) of each value, from 0 to 8.
        weights: (steps,) of their squared errors.
    """

    bits: Ints
    weights: npt.NDArray[np.float64]

    def windows(self, rows: Float32s, levels: Float32s) -> Windows:
        """(m, steps) windows of the rows (m, d)."""
        weights, kinds = np.unique(self.weights.astype(np.float32), return_inverse=True)
        squares, doubles = np.outer(weights, levels * levels), np.outer(-2 * weights, levels)
        window = len(levels).bit_length() - 1
        reach = min(len(self.bits) // 2, math.ceil(MEMORY * window / self.bits.mean()))
        return _viterbi()(np.ascontiguousarray(rows), squares, doubles, kinds, self.bits, reach)

    def pack(self, windows: Windows) -> npt.NDArray[np.uint8]:
        """The rows' bytes: the lowest bits of each window, from the highest one on, the first ones highest."""
        value = np.repeat(np.arange(len(self.bits)), self.bits)
        below = np.cumsum(self.bits)[value] - 1 - np.arange(len(value))
        return np.packbits((windows[:, value] >> below.astype(np.uint32)).astype(np.uint8) & 1, axis=1)


def _viterbi() -> Callable[..., Windows]:
    """What chooses the windows; imported when it is first asked for, since the compiler takes a second to load."""
    if used() is None:
        from eigenselect.compressors.methods.trellis_code import viterbi

        return cast(Callable[..., Windows], viterbi.encode)
    from eigenselect.compressors.methods.trellis_code import device_viterbi

    return device_viterbi.encode


def _learn(sample: Float32s, row: _Row, window: int, rng: np.random.Generator) -> Float32s:
    """(2**window,) levels for the rows of the sample."""
    count, d = 1 << window, sample.shape[1]
    levels: Float32s = (_first(window, row.bits.mean(), rng) * sample.std()).astype(np.float32)
    parts = np.array_split(sample, PARTS)
    weights = row.weights[:d]

    def sums(part: Float32s) -> npt.NDArray[np.float64]:
        """(2, 2**window): sum and number of the values of each level."""
        windows = row.windows(part, levels)[:, :d].ravel()
        mass = np.broadcast_to(weights, part.shape)
        return np.stack([np.bincount(windows, each.ravel(), count) for each in (part * weights, mass)])

    with ThreadPoolExecutor(tables.WORKERS) as pool:
        for _ in range(ROUNDS):
            moment, mass = np.sum(list(pool.map(sums, parts)), axis=0)
            levels = np.where(mass > 0, moment / np.where(mass > 0, mass, 1), levels).astype(np.float32)
    return levels


def _first(window: int, bits: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(2**window,) levels to start from: the quantiles of a normal distribution, shuffled within equal parts.

    The ways into a state and the ways out of it each have one level of every part, as the subsets of trellis-coded
    quantization are laid out (Ungerboeck 1982): the part is the sum of the lowest bits, reversed, and the highest ones.
    Reversed, because with fewer ways it is then every second or fourth part. At 1 bit short rows would lose by it.
    """
    count, width = 1 << window, min(math.floor(bits) + 1, window) if bits >= 1.5 else 0
    numbers, parts = np.arange(count), 1 << width
    reverse = sum(((numbers >> bit) & 1) << (width - 1 - bit) for bit in range(width))
    part = (reverse + (numbers >> (window - width))) % parts
    rank = np.empty(count, np.int64)
    rank[np.argsort(part, kind="stable")] = rng.permuted(numbers.reshape(parts, -1), axis=1).ravel()
    first: npt.NDArray[np.float64] = ndtri((rank + 0.5) / count)
    return first
