"""Transform coding: the table's principal components, each with the bits that it is worth.

The transform and the allocation of bits by reverse water-filling: Cover and Thomas, Elements of Information Theory,
§10.3.3, and Goyal, Theoretical foundations of transform coding, 2001. Ours are the weights of the errors, and that all
components share one trellis code, in which any of them may have any number of bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import SMALLEST, EmbeddingTable, Table
from eigenselect.compressors.data.views import ProjectedTable
from eigenselect.compressors.methods.identity import Identity
from eigenselect.compressors.methods.spectral import Normalised, classes_nbytes, relative_lengths, row_classes
from eigenselect.compressors.methods.trellis_code import TrellisCode, shared_code, shares
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Projected, Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.settings import check_count, check_number, check_then, shown

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TransformCode(Compressor):
    """Principal components of unit variance, with bits by reverse water-filling, in one trellis code.

    For the loss Σ σⱼ^(power − 2) eⱼ, where σⱼ is a singular value and eⱼ the squared error in its direction, component
    j gets log2(σⱼ^power / θ) / 2 bits, or none. Rows have scales of two bits. `Spectral` gives all directions as many.

    Attributes:
        row: bytes of a row, whose bits the components share, at most the table's columns.
        power: 2 is the least squared error; 0 gives every direction as many bits, as the eigenspace overlap has it.
        window: bits that pick a value, from 8 to 16.
        matrix: what compresses the (d, d) directions, which are made up for: it adds no error of its own.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, TransformCode
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> TransformCode(8, window=8).compress(table, np.random.default_rng(0)).nbytes
        4169
    """

    row: int
    power: float = 1
    window: int = 10
    matrix: Compressor = field(default_factory=lambda: Identity("float16"))

    effort = TrellisCode.effort
    by_rows = True

    def __post_init__(self) -> None:
        check_count(self, "row")
        check_number(self, "power", least=0, most=2)
        check_count(self, "window", 8, 16)
        check_then(self, "matrix")

    @property
    def name(self) -> str:  # noqa: D102
        matrix = "" if self.matrix == Identity("float16") else f"-matrix({self.matrix.name})"
        return f"transform{shown(self.power)}{matrix}-trellis{self.window}-row{self.row}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        if self.row > d:
            raise ValueError(f"TransformCode row = {self.row} for {d} columns: must be at most {d}, 8 bits each")
        code = TrellisCode(window=self.window, row=self.row).nbytes(n, d)
        return code + classes_nbytes(n) + self.matrix.nbytes(d, d) + 4 * d

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        sigma, vectors = table.spectrum
        sigma = sigma / (sigma[0] or 1)
        rates = _rates(sigma, self.power, self.row)
        bits = shares(rates, self.row)
        there = (bits > 0) & (sigma > SMALLEST)  # the others are not decoded
        weights = np.where(there, 4.0 ** (rates - rates.max()), 0)
        directions = self.matrix.compress(EmbeddingTable(np.ascontiguousarray(vectors.T, np.float32)), rng)
        unit = float(table.abs_max or 1)
        z = ProjectedTable(table, _to_components(directions, np.where(there, sigma, np.inf), unit))
        classes = row_classes(relative_lengths(z, lambda block: np.sqrt(block.astype(np.float64) ** 2 @ weights)))
        part = shared_code(Normalised(z, classes.read), bits, weights, self.window, rng)
        deviations = Dense((np.where(there, sigma, 0) * unit)[:, None].astype(np.float32))
        return Projected(Scaled(part, classes), Scaled(directions, deviations))


def _to_components(directions: Payload, sigma: Doubles, unit: float) -> npt.NDArray[np.float32]:
    """(d, d) float32 that makes components of rows: the inverse of the `directions` as they are decoded."""
    inverse = np.linalg.pinv(directions.read(slice(None)).astype(np.float64))
    matrix: npt.NDArray[np.float32] = (inverse / sigma / unit).astype(np.float32)
    return matrix


def _rates(sigma: Doubles, power: float, row: int) -> Doubles:
    """Bits of each component, from 0 to 8 and 8 * row together, by reverse water-filling.

    Args:
        sigma: (d,) singular values, decreasing, the largest 1; those below `SMALLEST` get what the others cannot take.
        power: of the singular values in what a bit is worth.
        row: bytes.
    """
    worth = power * np.log2(np.maximum(sigma, SMALLEST))
    kept = sigma > SMALLEST
    if 8 * kept.sum() <= 8 * row:
        left = (8 * row - 8 * kept.sum()) / max(1, (~kept).sum())
        return np.where(kept, 8.0, left)
    low, high = worth.min() - 16, worth.max()
    for _ in range(100):
        level = (low + high) / 2
        rates = np.where(kept, np.clip((worth - level) / 2, 0, 8), 0)
        low, high = (level, high) if rates.sum() > 8 * row else (low, level)
    return rates
