"""k-means over the scalars of the table (Andrews 2016; May et al., NeurIPS 2019, App. D.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.scalar import affine, affine_nbytes, count_below, encode
from eigenselect.compressors.data.histogram import Histogram
from eigenselect.compressors.data.table import Floats, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.settings import check_count

MAX_ROUNDS = 10_000
"""Rounds of Lloyd's algorithm at most: each takes microseconds on a histogram, convergence far fewer."""


def centroids(histogram: Histogram, count: int) -> npt.NDArray[np.float64]:
    """(count,) increasing centroids: Lloyd's algorithm on the bins, to a fixed point.

    It starts from the companding quantizer, whose centroids have a density proportional to the cube root of the
    entries' density, the limit of the optimal quantizer for many levels (Panter and Dite 1951). With fewer distinct
    bins than `count`, each bin gets a centroid and the last one is repeated.
    """
    means, counts = histogram.occupied()
    if len(means) <= count:
        return np.concatenate([means, np.full(count - len(means), means[-1])])
    mass, moment, power = (np.concatenate([[0.0], np.cumsum(counts * means**p)]) for p in range(3))

    edges = np.linspace(means[0], means[-1], 16 * count + 1)
    density = np.diff(np.interp(edges, means, mass[1:])) ** (1 / 3)
    compander = np.concatenate([[0.0], np.cumsum(density)])
    found: npt.NDArray[np.float64] = np.interp((np.arange(count) + 0.5) / count * compander[-1], compander, edges)

    previous = None
    for _ in range(MAX_ROUNDS):
        bounds = np.concatenate([[0], np.searchsorted(means, (found[1:] + found[:-1]) / 2), [len(means)]])
        weight = np.diff(mass[bounds])
        found = np.where(weight > 0, np.diff(moment[bounds]) / np.maximum(weight, 1), found)
        if previous is None or not np.array_equal(bounds, previous):
            previous = bounds
            continue
        if weight.all():
            break
        # A cell without entries, in a gap of the table: its centroid goes where it helps most, into the worst cell.
        spread = np.maximum(np.diff(power[bounds]) - weight * found**2, 0)
        worst = spread.argmax()
        found[weight.argmin()] = found[worst] + np.sqrt(spread[worst] / weight[worst])
        found.sort()
        previous = None
    return found


@dataclass(frozen=True)
class KMeans(Compressor):
    """2**bits free levels, fitted to all entries by k-means.

    Attributes:
        bits: 1 to 8 per entry.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, KMeans
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = KMeans(2).compress(table, np.random.default_rng(0))
        >>> payload.nbytes, len(np.unique(payload.read(slice(0, 100))))
        (816, 4)
    """

    bits: int

    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "bits", most=8)

    @property
    def name(self) -> str:  # noqa: D102
        return f"kmeans-b{self.bits}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        recoded = 4 * (1 << self.bits) if len(plane_widths(self.bits)) > 1 else 0
        return affine_nbytes(n, d, self.bits) + recoded

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        levels = centroids(table.histogram, 1 << self.bits).astype(np.float32)
        wide = levels.astype(np.float64)  # the sum of two levels may exceed what float32 holds
        boundaries = ((wide[1:] + wide[:-1]) / 2).astype(np.float32)

        def codes_of(block: Floats, _: slice) -> npt.NDArray[np.uint8]:
            return count_below(block, boundaries)

        planes = encode(table, self.bits, codes_of)
        if len(planes) == 1:
            return Packed(planes[0], levels[:, None], table.d)
        codes = affine(planes, self.bits, table.d, zero=0.0, scale=1.0)
        return Coded(codes, levels[None, :, None], summed=False, dim=table.d)
