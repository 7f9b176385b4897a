"""One streamed pass over a table and a candidate; every measure follows from what it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eigenselect.compressors.data.table import Table
from eigenselect.compressors.device import back, library, used, wide
from eigenselect.selector.measures.weights import WeightedTable

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.floating]
Read = Callable[[slice], Any]

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
class Sample:
    """Single rows, kept as they were read.

    Attributes:
        x: (r, d) of the table.
        y: (r, k) the same ones of the candidate.
        factors: (r,) float64, what the influence of each is multiplied by: ± its weight, times the root of how much
            less likely it was taken than the others (`WeightedTable.sampled`); ones where all rows are alike.
    """

    x: Rows
    y: Rows
    factors: Doubles


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
        eps: rounding unit of the entries: a direction smaller than `rank_cut` of it does not count.
        mean_cosine: mean over rows of cos(x_i, x~_i), where a zero row agrees with a zero row only; None as above.
        x_mean: (d,) float64, the mean row of the table.
        y_mean: (k,) float64, of the candidate.
        sample: single rows of both.
        weighted: the moments of the rows by their weights, those of W^½X and W^½X~, where there are weights.
    """

    n: int
    x: Doubles
    y: Doubles
    error: Doubles | None
    eps: float
    mean_cosine: float | None
    x_mean: Doubles
    y_mean: Doubles
    sample: Sample
    weighted: Moments | None = None

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


def moments(table: Table, read: Read, *, aligned: bool = True, weighted: WeightedTable | None = None) -> Moments:
    """The moments of `table` and of the candidate whose rows `read` gives.

    One pass that sums inner products; a second one, by blocked QR (TSQR), where the condition check asks for it. With
    weights the same pass sums both ways, and each has its own condition check.

    Args:
        table: the (n, d) table.
        read: row range -> (rows, k) float, the candidate's rows, as an array or a tensor on the device that is used.
        aligned: whether the candidate's columns are the table's, where there are as many (`Payload.aligned`).
        weighted: the table with weights of its rows.
    """
    first = back(read(slice(0, 1)))
    same = aligned and first.shape[1] == table.d
    # What is decoded is float32 at best: the rank is counted in its rounding unit unless both sides carry more.
    doubles = first.dtype == np.float64 and table.read(slice(0, 1)).dtype == np.float64
    eps = float(np.finfo(np.float64 if doubles else np.float32).eps)
    every = np.arange(0, table.n, -(-table.n // SAMPLED))
    kinds = [_Kind(table, every, np.ones(len(every)))]
    if weighted is not None:
        kinds.append(_Kind(weighted, *weighted.sampled(SAMPLED), weighted.weights))

    def of_part(rows: slice) -> list[_Sums]:
        given, decoded = table.read(rows), read(rows)
        x, y = wide(given), wide(decoded)
        squares = [library(y).einsum("ij,ij->j", y, kind.by_weight(y, rows)) for kind in kinds]
        cosines = cosines_of(x, y) if same else None
        if same:
            y -= x  # the error: sums of it do not cancel when the candidate is close
        return [
            kind.sums(x, y, rows, square, cosines, kind.picked(given, decoded, rows))
            for kind, square in zip(kinds, squares, strict=True)
        ]

    def sums(rows: slice) -> list[_Sums]:
        return _total(map(of_part, _parts(rows, table.d)))

    found = [
        kind.moments(total, read, same=same, eps=eps)
        for kind, total in zip(kinds, _total(table.shards(sums)), strict=True)
    ]
    return found[0] if weighted is None else replace(found[0], weighted=found[1])


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of some rows, each times its weight.

    Attributes:
        cross: (d, k) XᵀE, with the error E = X~ − X where the columns are the table's, and E = X~ otherwise.
        square: (k, k) EᵀE.
        squares: (k,) squared lengths of the candidate's columns.
        row: (d,) the sum of the table's rows.
        other: (k,) of E.
        cosines: sum of cos(x_i, x~_i).
        rows: sampled ones of both.
    """

    cross: Doubles
    square: Doubles
    squares: Doubles
    row: Doubles
    other: Doubles
    cosines: float
    rows: list[tuple[Rows, Rows]]

    def add(self, more: _Sums) -> _Sums:
        """Their sum, in the arrays of this one."""
        for mine, other in zip(self._arrays(), more._arrays(), strict=True):
            mine += other
        return replace(self, cosines=self.cosines + more.cosines, rows=self.rows + more.rows)

    def _arrays(self) -> tuple[Doubles, ...]:
        return self.cross, self.square, self.squares, self.row, self.other


def _total(parts: Iterable[list[_Sums]]) -> list[_Sums]:
    """The sum of the parts, of each kind."""
    return reduce(lambda total, part: [mine.add(more) for mine, more in zip(total, part, strict=True)], parts)


@dataclass(frozen=True, eq=False)
class _Kind:
    """One way to count the rows.

    Attributes:
        table: the table, or that with weights.
        ids: (r,) increasing, the rows that are kept.
        factors: (r,) see `Sample`.
        weights: (n,) of the rows; None counts each once.
    """

    table: Table
    ids: npt.NDArray[np.int64]
    factors: Doubles
    weights: Doubles | None = None

    def by_weight(self, values: Any, rows: slice) -> Any:
        """Rows, each times its weight."""
        return values if self.weights is None else values * wide(self.weights[rows, None])

    def picked(self, given: Rows, decoded: Any, rows: slice) -> tuple[Rows, Rows]:
        """Those of the rows that are kept: copies, since a view would keep its block."""
        ids = self.ids[np.searchsorted(self.ids, rows.start) : np.searchsorted(self.ids, rows.stop)] - rows.start
        return given[ids], back(decoded[ids])

    def sums(self, x: Any, e: Any, rows: slice, squares: Any, cosines: Any, kept: tuple[Rows, Rows]) -> _Sums:
        """The sums of the rows: of the table, of E, and what was made of them before."""
        weighed = self.by_weight(e, rows)
        one = wide(np.ones(len(x)) if self.weights is None else self.weights[rows])
        cosine = 0.0 if cosines is None else float(one @ cosines)
        cross, square, row, other = map(back, (x.T @ weighed, e.T @ weighed, one @ x, one @ e))
        return _Sums(cross, square, back(squares), row, other, cosine, [kept])

    def moments(self, sums: _Sums, read: Read, *, same: bool, eps: float) -> Moments:
        """The moments that the sums give, or QR where they do not hold enough digits."""
        table, n = self.table, self.table.n
        x_mean, other_mean = sums.row / n, sums.other / n
        mine, theirs = (np.concatenate(rows) for rows in zip(*sums.rows, strict=True))
        sample = Sample(mine, theirs, self.factors)

        def made(x: Doubles, other: Doubles, own: Flags | bool = False) -> Moments:
            """From x and the other columns: of the candidate where nothing is compared or `own`, else errors."""
            return Moments(
                n=n,
                x=x,
                y=np.where(own, other, x + other) if same else other,
                error=np.where(own, other - x, other) if same else None,
                eps=eps,
                mean_cosine=sums.cosines / n if same else None,
                x_mean=x_mean,
                y_mean=x_mean + other_mean if same else other_mean,
                sample=sample,
            )

        # Where y is short beside what the sums hold, y = x + error would be the rounding of longer columns.
        own_lengths, carried = np.sqrt(sums.squares), np.sqrt(np.diag(sums.square))
        if carried.max() <= CONDITION_LIMIT * own_lengths.min():
            roots = _roots(table.gram, sums.cross, sums.square)
            if roots is not None and (found := made(*roots)).well_conditioned:
                return found
        # QR is exact to the length of each column: take of each pair the shorter one, and nothing cancels in the other.
        own = own_lengths < carried

        def columns(rows: slice) -> Doubles:
            x, y = table.read(rows).astype(np.float64), back(read(rows)).astype(np.float64)
            if self.weights is not None:
                y *= np.sqrt(self.weights[rows, None])
            return np.concatenate([x, np.where(own, y, y - x) if same else y], axis=1)

        triangle = _tsqr(map(columns, table.spans()))
        return made(triangle[:, : table.d], triangle[:, table.d :], own)


def cosines_of(x: Any, y: Any) -> Any:
    """(rows,) cosine of each pair; a zero row agrees with a zero row only."""
    some = library(x)
    dots, xx, yy = (some.einsum("ij,ij->i", a, b) for a, b in ((x, y), (x, x), (y, y)))
    lengths = some.sqrt(xx) * some.sqrt(yy)
    return some.where(lengths > 0, dots / some.where(lengths > 0, lengths, 1.0), 1.0 * ((xx == 0) & (yy == 0)))


def _parts(rows: slice, d: int) -> Iterator[slice]:
    """The range in parts of `PART_BYTES` in float64, or of twice as many rows as there are columns if that is more.

    A device, which has no such caches, takes it whole.
    """
    step = max(PART_BYTES // (8 * d), 2 * d) if used() is None else rows.stop - rows.start
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def _roots(gram: Doubles, cross: Doubles, square: Doubles) -> tuple[Doubles, Doubles] | None:
    """A square root of [[gram, cross], [crossᵀ, square]] by blocks; None when `gram` is not positive definite."""
    try:
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    inside = np.linalg.solve(lower, cross)
    values, vectors = np.linalg.eigh(square - inside.T @ inside)
    outside = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    x = np.concatenate([lower.T, np.zeros((len(outside), len(lower)))])
    return x, np.concatenate([inside, outside])


def _tsqr(blocks: Iterable[Doubles]) -> Doubles:
    """The triangular factor of the stacked blocks, from a QR of each block under the factor so far."""
    triangle: Doubles | None = None
    for block in blocks:
        stacked = block if triangle is None else np.concatenate([triangle, block])
        (whole,) = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)
        triangle = np.asarray(whole[: whole.shape[1]], dtype=np.float64)
    assert triangle is not None, "a table has at least one row"
    return triangle
