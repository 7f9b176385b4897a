"""The embedding table: rows of floats read in blocks, with the few statistics that every method asks for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import Array, give_back, is_large, rows_array
from eigenselect.compressors.data.histogram import Histogram
from eigenselect.compressors.data.stored import Floats as Floats
from eigenselect.compressors.data.stored import Rows as Rows
from eigenselect.compressors.data.stored import StoredRows
from eigenselect.compressors.device import back, used, wide
from eigenselect.compressors.threads import one_blas_thread

T = TypeVar("T")

BLOCK_BYTES = 1 << 24
"""Size of one float32 block. Fixed, so that streamed sums and random draws depend on nothing else."""

SMALLEST = 1e-6
"""Singular values below this share of the largest are rounding of float32: their directions are dropped."""

SHARED = 4
"""Things that are made of a table and kept: a matrix of its columns may be large, and so may be a number a row."""

WORKERS = min(4, os.cpu_count() or 1)
"""Blocks worked on at once by `Table.each`: each costs memory."""


class Table(ABC):
    """An (n, d) table that is read in row blocks; what every compressor works on."""

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of rows (vocabulary size)."""

    @property
    @abstractmethod
    def d(self) -> int:
        """Number of columns (dimension)."""

    @abstractmethod
    def read(self, rows: Rows) -> Floats:
        """The rows `rows`, a range or ids from 0 on, (len, d) float32 or float16."""

    @property
    def tokens(self) -> Sequence[str] | None:
        """The token of each row; None when they are not known."""
        return None

    @property
    def counts(self) -> npt.NDArray[np.float64] | None:
        """(n,) float64, how often each row's token occurs; None when that is not known."""
        return None

    @property
    def block_rows(self) -> int:
        """Rows of a block: about `BLOCK_BYTES` of the widest table that reading one takes."""
        return max(1, BLOCK_BYTES // (4 * self.d))

    def spans(self) -> Iterator[slice]:
        """Consecutive row ranges of a block each that together are the table."""
        step = self.block_rows
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def blocks(self) -> Iterator[Floats]:
        """The table as consecutive row blocks."""
        return map(self.read, self.spans())

    def each(self, work: Callable[[slice], T]) -> Iterator[T]:
        """`work` on every row range, a few at a time; the results in the order of the rows, whoever is first.

        BLAS runs on one thread meanwhile: the blocks keep the processors busy, and no sum inside of one depends on how
        many there are.
        """
        with one_blas_thread(), ThreadPoolExecutor(WORKERS) as pool:
            # Only so many results wait for their turn.
            waiting: deque[Future[T]] = deque()
            for span in self.spans():
                waiting.append(pool.submit(work, span))
                if len(waiting) > WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def shards(self, work: Callable[[slice], T]) -> Iterator[T]:
        """As `each`, for work that changes nothing: an engine may run it in other processes (`sharded_by`)."""
        return _shards(self, work)

    def make(self, shape: tuple[int, ...], dtype: npt.DTypeLike, work: Callable[[slice], Array]) -> Array:
        """What `work` makes of every row range, as in `shards`, together: (n, *shape), a file where that is large."""
        made = rows_array((self.n, *shape), dtype)
        for rows, some in zip(self.spans(), self.shards(work), strict=True):
            made[rows] = some
            give_back(made)
        return made

    @cached_property
    def zero_rows(self) -> npt.NDArray[np.int64]:
        """The ids of the rows that are all zeros, increasing, (m,) int64; one pass, kept."""
        return np.concatenate([span.start + np.flatnonzero(~self.read(span).any(axis=1)) for span in self.spans()])

    @cached_property
    def abs_max(self) -> float:
        """Largest absolute entry."""
        return max(self.shards(lambda span: float(np.abs(self.read(span)).max())))

    @cached_property
    def histogram(self) -> Histogram:
        """Fine histogram of all n*d entries; one pass, kept."""
        histogram = Histogram(self.abs_max)
        for found in self.shards(lambda span: histogram.counted(self.read(span))):
            histogram.add(*found)
        return histogram

    @cached_property
    def gram(self) -> npt.NDArray[np.float64]:
        """XᵀX, (d, d) float64; one pass, kept."""

        def product(span: slice) -> npt.NDArray[np.float64]:
            rows = wide(self.read(span))
            return back(rows.T @ rows)

        total = np.zeros((self.d, self.d))
        for found in self.shards(product):
            total += found
        return total

    @cached_property
    def spectrum(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(d,) singular values, decreasing, and (d, d) right singular vectors as columns, float64; kept.

        An eigenvector's sign is LAPACK's choice. Here its largest component is positive, so that the bytes made from
        it are ours.
        """
        with one_blas_thread():
            values, vectors = np.linalg.eigh(self.gram)
        vectors = vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(self.d)])
        return np.sqrt(np.maximum(values[::-1], 0)), vectors

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes of the table on the device that is used: candidates that ask for the same share it.

        The last `SHARED` keys are known. Other processes make their own.
        """
        made: dict[Hashable, T] = vars(self).setdefault("_made", {})
        key = (used(), key)
        found = made[key] = made.pop(key) if key in made else make()
        for oldest in [*made][:-SHARED]:
            del made[oldest]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_made"}

    def sums(self) -> dict[str, Array]:
        """The sums over all rows that are known already, by name, for `take` of the same table in another process."""
        known = vars(self)
        found = {name: np.asarray(known[name]) for name in ("abs_max", "gram") if name in known}
        return found | (known["histogram"].arrays() if "histogram" in known else {})

    def take(self, sums: Mapping[str, Array]) -> None:
        """Know these sums, instead of reading all rows for them."""
        known = vars(self)
        if "abs_max" in sums:
            known["abs_max"] = float(sums["abs_max"])
        if "gram" in sums:
            known["gram"] = sums["gram"]
        if "counts" in sums:
            known["histogram"] = Histogram(self.abs_max)
            known["histogram"].add(sums["counts"], sums["totals"])

    @cached_property
    def leverage(self) -> npt.NDArray[np.float64]:
        """(n,) float64, xᵢ (XᵀX)⁻¹ xᵢᵀ of each row, from 0 to 1, without lost directions; one pass, kept."""
        sigma, vectors = self.spectrum
        kept = sigma > SMALLEST * sigma[0]
        forward = vectors[:, kept] / sigma[kept]
        return self.make((), np.float64, lambda span: np.square(self.read(span) @ forward).sum(axis=1))


@dataclass(frozen=True, eq=False)
class EmbeddingTable(Table):
    """An (n, d) float table with finite entries and, when known, the token of each row.

    Attributes:
        vectors: (n, d) float32 or float16, n >= d >= 1. May be a memmap larger than memory, or rows that are made of
            stored numbers when they are read; it is never copied.
        tokens: the n tokens in row order, or None.
        counts: (n,) float64, finite and at least 0: how often each token occurs, or None.
        source_rows: (n,) int64, the row of the file that each row was taken from, or None for a table that is the
            file's own, in its order.
        source_n: number of rows of the file, where `source_rows` is given.
        remarks: sentences that whoever uses the table should read.

    Raises:
        ValueError: wrong rank, dtype or shape, a NaN or an infinity (row and column named), a count that is
            negative or not finite (row named), or tokens, counts or source rows of another number.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable
        >>> table = EmbeddingTable(np.float32([[1, 2], [3, 4], [5, -6]]), ["a", "b", "c"])
        >>> table.n, table.d, table.abs_max, table.tokens[1]
        (3, 2, 6.0, 'b')
        >>> table.read(slice(1, 3))
        array([[ 3.,  4.],
               [ 5., -6.]], dtype=float32)
    """

    vectors: Floats | StoredRows
    tokens: Sequence[str] | None = None
    counts: npt.NDArray[np.float64] | None = None
    source_rows: npt.NDArray[np.int64] | None = None
    source_n: int | None = None
    remarks: Sequence[str] = ()

    def __repr__(self) -> str:
        n, d = self.vectors.shape
        tokens = ", with tokens" if self.tokens is not None else ""
        return f"EmbeddingTable({n:,} x {d} {self.vectors.dtype.name}, {4 * n * d:,} bytes in float32{tokens})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        """The rows: `numpy.asarray(table)`."""
        return np.array(self.vectors, dtype, copy=copy)

    def __post_init__(self) -> None:
        v = self.vectors
        if v.ndim != 2:
            raise ValueError(f"table has {v.ndim} dimension(s), shape {v.shape}: an embedding table is 2-D, (n, d)")
        if v.dtype not in (np.float32, np.float16):
            raise ValueError(f"table holds {v.dtype}: convert it to float32 or float16 first")
        if 0 in v.shape:
            raise ValueError(f"table of shape {v.shape} is empty: it needs at least one row and one column")
        if v.shape[0] < v.shape[1]:
            pruned = self.source_rows is not None
            raise ValueError(
                f"table has n = {v.shape[0]} rows and d = {v.shape[1]} columns: n must be at least d; "
                + ("keep more tokens" if pruned else "if it is transposed, save its transpose")
            )
        for one, given in (("token", self.tokens), ("count", self.counts), ("source row", self.source_rows)):
            if given is not None and len(given) != v.shape[0]:
                raise ValueError(f"{len(given)} {one}s for a table of {v.shape[0]} rows: one {one} a row is needed")
        if self.counts is not None:
            self._check_counts(self.counts)
        self._check_finite()

    def _check_counts(self, counts: npt.NDArray[np.float64]) -> None:
        if counts.ndim != 1 or counts.dtype != np.float64:
            raise ValueError(f"counts are {counts.dtype} of shape {counts.shape}: they must be float64, one a row")
        bad = ~(np.isfinite(counts) & (counts >= 0))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"count {counts[row]} at row {row}{self._token(row)}: "
                "every count must be finite and at least 0; correct it"
            )

    def _check_finite(self) -> None:
        for span in self.spans():
            block = self.read(span)
            finite = np.isfinite(block)
            if not finite.all():
                i, column = (int(at) for at in np.argwhere(~finite)[0])
                row = span.start + i
                raise ValueError(
                    f"{block[i, column]} at row {row}, column {column}{self._token(row)}: "
                    "every entry must be finite; drop or repair that row"
                )

    def _token(self, row: int) -> str:
        """The token of `row` for a message, if it has one."""
        return f" (token {self.tokens[row]!r})" if self.tokens is not None else ""

    @property
    def n(self) -> int:  # noqa: D102
        return int(self.vectors.shape[0])

    @property
    def d(self) -> int:  # noqa: D102
        return int(self.vectors.shape[1])

    @property
    def stored(self) -> str:
        """What its numbers are stored as: `float32`, `bfloat16`, `int8`."""
        return self.vectors.stored if isinstance(self.vectors, StoredRows) else self.vectors.dtype.name

    @property
    def stored_nbytes(self) -> int:
        """Bytes that it takes so."""
        return self.vectors.nbytes

    def read(self, rows: Rows) -> Floats:  # noqa: D102
        v = self.vectors
        if not isinstance(v, np.memmap) or not is_large(v.nbytes):
            return v[rows]
        read = np.array(v[rows])
        give_back(v)
        return read


Shards = Callable[[Table, Callable[[slice], Any]], Iterator[Any]]

_shards: Shards = Table.each


@contextmanager
def sharded_by(engine: Shards) -> Iterator[None]:
    """`Table.shards` is what `engine` makes of a table and work meanwhile: the same results in the same order."""
    global _shards
    before, _shards = _shards, engine
    try:
        yield
    finally:
        _shards = before


MOST_PERMUTED = 1 << 24
"""Rows up to which a sample is the start of a permutation, which takes 8 bytes a row."""


def drawn(n: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """min(count, n) different ids below n."""
    if n <= MOST_PERMUTED:
        return rng.permutation(n)[:count]
    return rng.choice(n, min(count, n), replace=False, shuffle=False)


def sample_rows(table: Table, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(min(count, n), d) float32: rows picked at random, in their order."""
    rows = np.sort(drawn(table.n, count, rng))
    found = []
    for span in table.spans():
        picked = rows[np.searchsorted(rows, span.start) : np.searchsorted(rows, span.stop)] - span.start
        if len(picked):
            found.append(table.read(span)[picked].astype(np.float32, copy=False))
    return np.concatenate(found)
