"""One streamed pass over a table and a candidate; every measure follows from what it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eigenselect.compressors.data.table import Table

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.floating]
Read = Callable[[slice], Rows]

_Sums = tuple[Doubles, Doubles, Doubles, float, list[tuple[Rows, Rows]]]
"""XᵀE, EᵀE, the squared lengths of the candidate's columns, the sum of cosines, sampled rows of both."""

PART_BYTES = 1 << 19
"""Rows that are summed at once: what is made of them stays in the processor's caches."""

CONDITION_LIMIT = 1e3
"""A Gram matrix squares the condition number: up to this one its measures keep about nine digits. Beyond it, QR."""

SAMPLED = 1024
"""About how many rows are kept as they are, for what depends on single rows."""


def rank_cut(columns: int, eps: float) -> float:
    """Singular values up to this, relative to the largest, are rounding: 4 * sqrt(columns) * eps."""
    return 4 * math.sqrt(columns) * eps


def basis(a: Doubles, eps: float) -> tuple[Doubles, Doubles]:
    """Orthonormal basis of a's column span, by numerical rank, and the singular values that it rests on.

    The columns are scaled to one length first: that leaves the span alone, and rounding errors, which are relative to
    each column, become comparable to one cut.
    """
    lengths = np.linalg.norm(a, axis=0)
    u, s, _ = np.linalg.svd(a / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
    kept = s > rank_cut(a.shape[1], eps) * s[0]
    return u[:, kept], s[kept]


def _condition(a: Doubles) -> float:
    """Largest over smallest singular value; infinite for a rank-deficient matrix."""
    s = np.linalg.svd(a, compute_uv=False)
    return float(s[0] / s[-1]) if s[-1] > 0 else np.inf


def table_rank(table: Table) -> int:
    """Numerical rank of a float32 or float16 table, by the rule that the measures use."""
    eps = float(np.finfo(np.float32).eps)
    try:
        root = np.asarray(np.linalg.cholesky(table.gram).T, dtype=np.float64)
        enough = _condition(root) <= CONDITION_LIMIT
    except np.linalg.LinAlgError:
        enough = False
    if not enough:
        root = _tsqr(block.astype(np.float64) for block in table.blocks())
    return len(basis(root, eps)[1])


@dataclass(frozen=True, eq=False)
class Moments:
    """Small stand-ins for the table X and the candidate X~: x and y have the inner products of their columns.

    With [X X~] = Q [x y] for some Q with orthonormal columns, any measure that only depends on inner products of
    columns has the same value for (x, y) as for (X, X~).

    Attributes:
        n: rows of the table.
        x: (m, d) float64, m <= d + k.
        y: (m, k) float64.
        error: (m, k) float64, y - x without the cancellation; None when y's columns are not x's.
        mean_cosine: mean over rows of cos(x_i, x~_i), where a zero row agrees with a zero row only; None as above.
        eps: rounding unit of the entries: a direction smaller than `rank_cut` of it does not count.
        x_rows: (r, d) every (n / `SAMPLED`)th row of the table, rounded up; as read.
        y_rows: (r, k) the same rows of the candidate.
    """

    n: int
    x: Doubles
    y: Doubles
    error: Doubles | None
    mean_cosine: float | None
    eps: float
    x_rows: Rows = field(default_factory=lambda: np.zeros((0, 0)))
    y_rows: Rows = field(default_factory=lambda: np.zeros((0, 0)))

    @cached_property
    def x_basis(self) -> Doubles:
        """(m, rank X) orthonormal."""
        return basis(self.x, self.eps)[0]

    @cached_property
    def y_basis(self) -> Doubles:
        """(m, rank X~) orthonormal."""
        return basis(self.y, self.eps)[0]

    @cached_property
    def x_svd(self) -> tuple[Doubles, Doubles]:
        """All m left singular vectors of x, (m, m), and its rank X non-zero singular values, decreasing."""
        u, s, _ = np.linalg.svd(self.x, full_matrices=True)
        return u, s[: self.x_basis.shape[1]]

    @property
    def well_conditioned(self) -> bool:
        """Whether a Gram matrix was enough to find x and y."""
        retained = basis(self.y, self.eps)[1]
        return _condition(self.x) <= CONDITION_LIMIT and (
            retained.size == 0 or bool(retained[0] <= CONDITION_LIMIT * retained[-1])
        )


def moments(table: Table, read: Read, *, aligned: bool = True) -> Moments:
    """The moments of `table` and of the candidate whose rows `read` gives.

    One pass that sums inner products; a second one, by blocked QR (TSQR), where the condition check asks for it.

    Args:
        table: the (n, d) table.
        read: row range -> (rows, k) float, the candidate's rows.
        aligned: whether the candidate's columns are the table's, where there are as many (`Payload.aligned`).
    """
    first = read(slice(0, 1))
    same = aligned and first.shape[1] == table.d
    # What is decoded is float32 at best: the rank is counted in its rounding unit unless both sides carry more.
    wide = first.dtype == np.float64 and table.read(slice(0, 1)).dtype == np.float64
    eps = float(np.finfo(np.float64 if wide else np.float32).eps)

    step = -(-table.n // SAMPLED)

    def of_part(rows: slice) -> _Sums:
        given, decoded = table.read(rows), read(rows)
        # Copies: a view would keep its block.
        sample = (given[-rows.start % step :: step].copy(), decoded[-rows.start % step :: step].copy())
        x, y = given.astype(np.float64), decoded.astype(np.float64)
        squares, cosines = np.einsum("ij,ij->j", y, y), 0.0
        if same:
            dots, xx, yy = (np.einsum("ij,ij->i", a, b) for a, b in ((x, y), (x, x), (y, y)))
            lengths = np.sqrt(xx) * np.sqrt(yy)
            cosine = np.asarray((xx == 0) & (yy == 0), dtype=np.float64)
            np.divide(dots, lengths, out=cosine, where=lengths > 0)
            cosines = float(cosine.sum())
            y -= x  # the error: sums of it do not cancel when the candidate is close
        return x.T @ y, y.T @ y, squares, cosines, [sample]

    def sums(rows: slice) -> _Sums:
        return reduce(_added, map(of_part, _parts(rows, table.d)))

    cross, square, squares, cosines, samples = reduce(_added, table.each(sums))
    x_rows, y_rows = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    mean_cosine = cosines / table.n if same else None

    # Where y is short beside what the sums hold, y = x + error would be the rounding of longer columns.
    own_lengths, carried = np.sqrt(squares), np.sqrt(np.diag(square))
    if carried.max() <= CONDITION_LIMIT * own_lengths.min():
        found = _from_sums(table.n, table.gram, cross, square, mean_cosine, eps)
        if found is not None and found.well_conditioned:
            return replace(found, x_rows=x_rows, y_rows=y_rows)
    # QR is exact to the length of each column: take of each pair the shorter one, and nothing cancels in the other.
    own = own_lengths < carried

    def columns(rows: slice) -> Doubles:
        x, y = table.read(rows).astype(np.float64), read(rows).astype(np.float64)
        return np.concatenate([x, np.where(own, y, y - x) if same else y], axis=1)

    triangle = _tsqr(map(columns, table.spans()))
    found = _assemble(table.n, triangle[:, : table.d], triangle[:, table.d :], mean_cosine, eps, own)
    return replace(found, x_rows=x_rows, y_rows=y_rows)


def _parts(rows: slice, d: int) -> Iterator[slice]:
    """The range in parts of `PART_BYTES` in float64, or of twice as many rows as there are columns if that is more."""
    step = max(PART_BYTES // (8 * d), 2 * d)
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def _added(total: _Sums, part: _Sums) -> _Sums:
    """Their sum, in the arrays of the first."""
    cross, square, squares, cosines, samples = total
    cross += part[0]
    square += part[1]
    squares += part[2]
    return cross, square, squares, cosines + part[3], samples + part[4]


def _assemble(
    n: int, x: Doubles, other: Doubles, mean_cosine: float | None, eps: float, own: Flags | None = None
) -> Moments:
    """Moments from x and the other columns: of the candidate where nothing is compared or where `own`, else errors."""
    if mean_cosine is None:
        return Moments(n, x, other, None, None, eps)
    if own is None:
        own = np.zeros(x.shape[1], dtype=np.bool_)
    return Moments(n, x, np.where(own, other, x + other), np.where(own, other - x, other), mean_cosine, eps)


def _from_sums(
    n: int, gram: Doubles, cross: Doubles, square: Doubles, mean_cosine: float | None, eps: float
) -> Moments | None:
    """A square root of [[gram, cross], [crossᵀ, square]] by blocks; None when `gram` is not positive definite."""
    try:
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    inside = np.linalg.solve(lower, cross)
    values, vectors = np.linalg.eigh(square - inside.T @ inside)
    outside = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    x = np.concatenate([lower.T, np.zeros((len(outside), len(lower)))])
    return _assemble(n, x, np.concatenate([inside, outside]), mean_cosine, eps)


def _tsqr(blocks: Iterable[Doubles]) -> Doubles:
    """The triangular factor of the stacked blocks, from a QR of each block under the factor so far."""
    triangle: Doubles | None = None
    for block in blocks:
        stacked = block if triangle is None else np.concatenate([triangle, block])
        (whole,) = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)
        triangle = np.asarray(whole[: whole.shape[1]], dtype=np.float64)
    assert triangle is not None, "a table has at least one row"
    return triangle
