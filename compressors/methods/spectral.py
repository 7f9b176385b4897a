"""Spectral quantization: partly whiten, rotate and normalise the table, then quantize it with any method. Ours.

The eigenspace overlap score depends on the column span alone, and its bound for uniform quantization (May et al.,
NeurIPS 2019, Theorem 3) is best for a whitened table. Rotation makes every column alike (random rotations before
quantization are known from QuIP, Chee et al., NeurIPS 2023, and the literature it cites), a scale for each row makes
every row alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.arrays import give_back
from eigenselect.compressors.data.table import SMALLEST, EmbeddingTable, Floats, Rows, Table
from eigenselect.compressors.data.views import View, projected
from eigenselect.compressors.methods.byte_codebook import ByteCodebook
from eigenselect.compressors.methods.identity import Identity
from eigenselect.compressors.methods.kmeans import KMeans
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import pack
from eigenselect.compressors.payloads.column import Column
from eigenselect.compressors.payloads.composed import Projected, Scaled, Unaligned
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.settings import check_choice, check_flag, check_number, check_then, shown

Float32s = npt.NDArray[np.float32]

NORMS: dict[str, Compressor] = {"float16": Identity("float16"), "uint8": KMeans(8)}
"""What compresses the (n, 1) row scales, but for those of two bits."""

CLASSES = 4
"""Row scales of two bits."""


@dataclass(frozen=True, eq=False)
class Normalised(View):
    """The rows of `source`, each divided by its own length (zero rows stay zero).

    Attributes:
        lengths: rows -> (len, 1) float32.
    """

    lengths: Callable[[Rows], Float32s]

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        lengths = self.lengths(rows)
        return self.source.read(rows) / np.where(lengths > 0, lengths, np.float32(1))


def relative_lengths(z: Table, length: Callable[[Floats], npt.NDArray[np.float64]]) -> EmbeddingTable:
    """(n, 1) what `length` makes of the rows of z, (len,) of each block, relative to the largest.

    Scales are stored so, and the longest row's length goes into the codebook: float16 is narrow.
    """
    lengths = z.make((), np.float64, lambda rows: length(z.read(rows)))

    def read(rows: slice) -> npt.NDArray[np.float64]:
        give_back(lengths)
        return lengths[rows, None]

    unit = max(float(read(rows).max()) for rows in z.spans()) or 1.0
    return EmbeddingTable(z.make((1,), np.float32, lambda rows: read(rows) / unit))


def _lengths(block: Floats) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.norm(block.astype(np.float64), axis=1))


@dataclass(frozen=True)
class Spectral(Compressor):
    """Z = X V S^(-whitening) Q, each row divided by its length, quantized by `then`; decoded by the inverse matrix.

    V and S are the table's right singular vectors and singular values, Q a random rotation. The inverse (d, d) matrix
    is stored and charged to the bytes. In few bits it is another matrix, but then Z is made with that one's inverse: no
    error comes of it, only a transform that is a little less than the best. A row's scale is fitted by least squares
    once its codes are known.

    Attributes:
        whitening: α from 0 (rotation only) to 1. 1 gives the highest eigenspace overlap, 0.5 the lowest
            reconstruction error.
        norm: how row scales are stored: `float16` (2 bytes a row), `uint8` (1 byte, 256 fitted levels), `uint2` (a
            quarter of a byte, 4 levels by which rows are divided before they are quantized) or `none`.
        then: what quantizes the normalised rows.
        fold: leave the matrix to the consumer: what is decoded is Z, for a first linear layer W to take as
            `decode_matrix` @ W.
        matrix: what compresses the matrix.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, KMeans, Spectral
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = Spectral(then=KMeans(2)).compress(table, np.random.default_rng(0))
        >>> payload.nbytes, Spectral(then=KMeans(2), fold=True).nbytes(100, 32)
        (3064, 1016)
    """

    whitening: float = 0.5
    norm: Literal["float16", "uint8", "uint2", "none"] = "float16"
    then: Compressor = field(default_factory=lambda: ByteCodebook(2))
    fold: bool = False
    matrix: Compressor = field(default_factory=lambda: Identity("float16"))

    by_rows = True

    def __post_init__(self) -> None:
        check_number(self, "whitening", least=0, most=1)
        check_choice(self, "norm", ("float16", "uint8", "uint2", "none"))
        check_then(self)
        check_flag(self, "fold")
        check_then(self, "matrix")

    @property
    def name(self) -> str:  # noqa: D102
        norm = {"float16": "", "uint8": "-norm8", "uint2": "-norm2", "none": "-nonorm"}[self.norm]
        matrix = "" if self.matrix == Identity("float16") else f"-matrix({self.matrix.name})"
        return f"spectral{shown(self.whitening)}{norm}{matrix}{'-fold' if self.fold else ''}-{self.then.name}"

    @property
    def keeps_dimension(self) -> bool:  # noqa: D102
        return not self.fold

    @property
    def without_matrix(self) -> Spectral:  # noqa: D102
        return replace(self, fold=True)

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return self.norm == "float16" or (self.norm == "none" and self.then.keeps_zero_rows)  # by a scale of zero

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        norm = NORMS.get(self.norm)
        scales = norm.nbytes(n, 1) if norm else classes_nbytes(n) if self.norm == "uint2" else 0
        return self.then.nbytes(n, d) + scales + (0 if self.fold else self.matrix.nbytes(d, d))

    def decode_matrix(self, table: Table, rng: np.random.Generator) -> npt.NDArray[np.floating] | None:  # noqa: D102
        return self._matrices(table, rng)[1].astype(np.float16) if self.fold else None

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        forward, backward = self._matrices(table, rng)
        if self.fold:
            return Unaligned(self._quantized(projected(table, forward), rng))
        if self.matrix == Identity("float16"):
            return Projected(self._quantized(projected(table, forward), rng), backward.astype(np.float16))
        matrix = self.matrix.compress(EmbeddingTable(backward), rng)
        forward = _inverse(matrix.read(slice(None)), int(np.linalg.matrix_rank(backward)))
        return Projected(self._quantized(projected(table, forward), rng), matrix)

    def _quantized(self, z: Table, rng: np.random.Generator) -> Payload:
        if self.norm == "none":
            return self.then.compress(z, rng)
        relative = z.shared("lengths", lambda: relative_lengths(z, _lengths))
        if self.norm == "uint2":
            classes = z.shared("classes", lambda: row_classes(relative))
            by_class = z.shared("by class", lambda: Normalised(z, classes.read))
            return Scaled(self.then.compress(by_class, rng), classes)
        norm = NORMS[self.norm]
        part = self.then.compress(z.shared("normalised", lambda: Normalised(z, relative.read)), rng)
        return Scaled(part, norm.compress(_fitted_scales(z, part, relative), rng))

    def _matrices(self, table: Table, rng: np.random.Generator) -> tuple[Float32s, Float32s]:
        """(d, d) float32 that makes Z of X, and its inverse, whose largest entry is about 1."""
        d = table.d
        sigma, vectors = table.spectrum
        kept = sigma > SMALLEST * sigma[0]
        power = np.where(kept, np.where(kept, sigma, 1.0) ** self.whitening, 0.0)
        rotation, triangle = np.linalg.qr(rng.standard_normal((d, d)))
        rotation *= np.sign(np.diag(triangle))  # uniform over all rotations, and not LAPACK's choice of signs
        backward = (rotation.T * power) @ vectors.T
        top = np.abs(backward).max() or 1.0
        inverse = np.where(kept, 1 / np.where(kept, power, 1.0), 0.0)
        forward = (vectors * inverse) @ rotation * top
        return forward.astype(np.float32), (backward / top).astype(np.float32)


def classes_nbytes(n: int) -> int:
    """Bytes of what `row_classes` makes of n rows."""
    return -(-n // 4) + 4 * CLASSES


def row_classes(relative: EmbeddingTable) -> Column:
    """Each row's length, (n, 1), as one of four: k-means over their logarithms, for what counts are ratios."""

    def logarithms(block: Floats, zero: np.float32) -> Float32s:
        return np.log(block, out=np.full(block.shape, zero), where=block > 0)

    some = sum(relative.shards(lambda rows: np.count_nonzero(relative.read(rows))))
    total = sum(relative.shards(lambda rows: logarithms(relative.read(rows), np.float32(0)).sum(dtype=np.float64)))
    mean = np.float32(total / max(some, 1))
    table = EmbeddingTable(relative.make((1,), np.float32, lambda rows: logarithms(relative.read(rows), mean)))
    codes = KMeans(2).compress(table, np.random.default_rng(0))
    assert isinstance(codes, Packed)
    padded = np.pad(codes.packed[:, 0], (0, -relative.n % 4)).reshape(-1, 4)
    return Column(pack(padded, 2)[:, 0], np.exp(codes.codebook), relative.n)


def _inverse(matrix: Float32s, rank: int) -> Float32s:
    """(d, d) inverse of a matrix on the `rank` directions of its largest singular values; nothing of the others."""
    u, sigma, vt = np.linalg.svd(matrix.astype(np.float64))
    inverse: Float32s = ((vt.T[:, :rank] / sigma[:rank]) @ u.T[:rank]).astype(np.float32)
    return inverse


def _fitted_scales(z: Table, part: Payload, relative: Table) -> EmbeddingTable:
    """(n, 1) scales s that minimise ‖z_i − s_i part_i‖ for each row; `relative` where a row decodes to zero."""

    def fit(span: slice) -> npt.NDArray[np.float64]:
        rows, decoded = z.read(span).astype(np.float64), part.read(span).astype(np.float64)
        power = np.einsum("ij,ij->i", decoded, decoded)
        fitted = np.einsum("ij,ij->i", rows, decoded)
        np.divide(fitted, power, out=fitted, where=power > 0)
        return np.where(power > 0, fitted, relative.read(span)[:, 0])[:, None]

    return EmbeddingTable(z.make((1,), np.float32, fit))
