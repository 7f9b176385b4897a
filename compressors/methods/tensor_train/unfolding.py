"""A table with the digits of its ids and columns in another order, and products with it: for tensor trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Floats, Rows, Table

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
F = TypeVar("F", bound=np.floating)

EXACT_SIDE = 2048
"""Up to this many columns of an unfolding its Gram matrix is formed; beyond, a subspace is iterated."""

OVERSAMPLING = 16
"""Directions iterated beyond those wanted (Halko, Martinsson and Tropp 2011, section 4.2)."""

ITERATIONS = 3
"""Times that the subspace is multiplied by AᵀA, each one pass over the table."""


@dataclass(frozen=True, eq=False)
class Unfolding(Table):
    """A table with its digits in another order: leading digits of row and column as rows, the others as columns.

    Attributes:
        source: an (n, d) table; what the digits address beyond it is zero.
        rows: the sizes of the digits of a row's number, the most significant first; their product is at least n.
        columns: likewise of a column's number.
        cut: how many digits of each are leading.
    """

    source: Table
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    cut: int

    @property
    def n(self) -> int:  # noqa: D102
        return math.prod(self.rows[: self.cut]) * math.prod(self.columns[: self.cut])

    @property
    def d(self) -> int:  # noqa: D102
        return math.prod(self.rows[self.cut :]) * math.prod(self.columns[self.cut :])

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        if not isinstance(rows, slice):
            raise TypeError("an unfolding is read by row ranges")
        high, wide = math.prod(self.rows[self.cut :]), math.prod(self.columns[: self.cut])
        first, last = rows.start // wide, -(-rows.stop // wide)  # values of the leading digits of the row
        n = self.source.n
        block = self.source.read(slice(min(first * high, n), min(last * high, n)))
        padded = np.zeros(((last - first) * high, math.prod(self.columns)), np.float32)
        padded[: len(block), : self.source.d] = block
        unfolded = padded.reshape(last - first, high, wide, -1).transpose(0, 2, 1, 3).reshape((last - first) * wide, -1)
        return unfolded[rows.start - first * wide : rows.stop - first * wide]

    def directions(self, count: int, rng: np.random.Generator) -> Float32s:
        """(d, count): the leading right singular vectors, each times its singular value.

        Exact up to `EXACT_SIDE` columns; beyond, by subspace iteration from a random start (ibid., algorithm 4.4).
        """
        if self.d <= EXACT_SIDE:
            total = self._sum(lambda span: gram(self.read(span)))
            vectors, squares = leading(total, count)
            return (vectors * np.sqrt(squares)).astype(np.float32)
        basis = rng.standard_normal((self.d, min(count + OVERSAMPLING, self.d)), dtype=np.float32)
        for _ in range(ITERATIONS):
            basis = self.times_its_transpose(orthonormal(basis)[0])
        q, triangle = orthonormal(basis)
        rotation, sizes, _ = np.linalg.svd(triangle.astype(np.float64))
        return _signed(q @ (rotation[:, :count] * np.sqrt(sizes[:count])).astype(np.float32))

    def times(self, right: Float32s, left: Floats) -> None:
        """`left` = A `right`; `left` may be a view of several axes that together are the rows."""
        shape = left.shape[:-1]

        def work(span: slice) -> None:
            left[np.unravel_index(np.arange(span.start, span.stop), shape)] = self.read(span) @ right

        for _ in self.each(work):
            pass

    def transpose_times(self, left: Floats) -> Float32s:
        """Aᵀ `left`, (d, r), with `left` as in `times`."""
        shape = left.shape[:-1]

        def work(span: slice) -> Floats:
            product: Floats = self.read(span).T @ left[np.unravel_index(np.arange(span.start, span.stop), shape)]
            return product

        return self._sum(work).astype(np.float32)

    def times_its_transpose(self, right: Float32s) -> Float32s:
        """AᵀA `right`, (d, r), in one pass."""

        def work(span: slice) -> Floats:
            block = self.read(span)
            product: Floats = block.T @ (block @ right)
            return product

        return self._sum(work).astype(np.float32)

    def _sum(self, work: Callable[[slice], Floats]) -> Float64s:
        """The sum of `work` over the row ranges, in their order."""
        results = self.each(work)
        total = next(results).astype(np.float64)
        for one in results:
            total += one
        return total


def orthonormal(matrix: Float32s) -> tuple[Float32s, Float32s]:
    """Q and R of a tall matrix, with a diagonal of R that is not negative: a sign is LAPACK's choice."""
    q, triangle = np.linalg.qr(matrix)
    signs = np.where(np.diag(triangle) < 0, np.float32(-1), np.float32(1))
    return q * signs, triangle * signs[:, None]


def gram(block: Floats) -> Float64s:
    """XᵀX in float64."""
    wide = block.astype(np.float64)
    total: Float64s = wide.T @ wide
    return total


def leading(matrix: Float64s, count: int) -> tuple[Float64s, Float64s]:
    """The `count` leading eigenvectors as columns, and their eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return _signed(vectors[:, ::-1][:, :count]), np.maximum(values[::-1][:count], 0)


def _signed(vectors: npt.NDArray[F]) -> npt.NDArray[F]:
    """Columns with the sign that makes their largest component positive: LAPACK's choice must not decide the bytes."""
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    signed: npt.NDArray[F] = vectors * np.where(largest < 0, -1, 1).astype(vectors.dtype)
    return signed
