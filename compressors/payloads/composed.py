"""The kinds of payload that are made of payloads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.payloads.base import Payload, check_array, check_payload, check_payloads
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Sum(Payload):
    """The sum of parts of the same shape.

    Attributes:
        parts: two payloads or more.
    """

    parts: tuple[Payload, ...]

    def __post_init__(self) -> None:
        check_payloads("Sum.parts", self.parts)
        shapes = [(part.n, part.k) for part in self.parts]
        if len(shapes) < 2 or len(set(shapes)) > 1:
            raise ValueError(f"Sum.parts have shapes {shapes}: there must be two or more of one shape")

    @property
    def n(self) -> int:  # noqa: D102
        return self.parts[0].n

    @property
    def k(self) -> int:  # noqa: D102
        return self.parts[0].k

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        total = self.parts[0].decode(rows, ops.scope("parts.0"))
        for i, part in enumerate(self.parts[1:], 1):
            total = ops.add(total, part.decode(rows, ops.scope(f"parts.{i}")))
        return total

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:  # noqa: D102
        total = self.parts[0].pooled(rows, ops.scope("parts.0"), pool)
        for i, part in enumerate(self.parts[1:], 1):
            total = ops.add(total, part.pooled(rows, ops.scope(f"parts.{i}"), pool))
        return total


@dataclass(frozen=True)
class OfPart(Payload):
    """What is made of one payload, of as many rows and, unless said otherwise, as many columns.

    Attributes:
        part: a payload.
    """

    part: Payload

    @property
    def n(self) -> int:  # noqa: D102
        return self.part.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.part.k


@dataclass(frozen=True)
class ImageOfPart(OfPart):
    """What is a linear map of each row of one payload: rows may be pooled before it or after it."""

    @abstractmethod
    def image(self, a: V, ops: Ops[V]) -> V:
        """The map of the rows `a`."""

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        return self.image(self.part.decode(rows, ops.scope("part")), ops)

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:  # noqa: D102
        return self.image(self.part.pooled(rows, ops.scope("part"), pool), ops)


@dataclass(frozen=True)
class Projected(ImageOfPart):
    """A part times a matrix.

    Attributes:
        part: a payload of j columns.
        matrix: (j, k) float32 or float16; or a payload of j rows, which is decoded as a whole.
    """

    matrix: npt.NDArray[np.floating] | Payload

    def __post_init__(self) -> None:
        check_payload("Projected.part", self.part)
        if isinstance(self.matrix, Payload):
            check_payload("Projected.matrix", self.matrix)
        else:
            check_array("Projected.matrix", self.matrix, 2, "float32", "float16")
        if self._rows != self.part.k:
            raise ValueError(f"Projected.matrix has {self._rows} rows for a part of {self.part.k} columns")

    @property
    def _rows(self) -> int:
        return self.matrix.n if isinstance(self.matrix, Payload) else len(self.matrix)

    @property
    def k(self) -> int:  # noqa: D102
        return self.matrix.k if isinstance(self.matrix, Payload) else int(self.matrix.shape[1])

    @property
    def bands(self) -> int:  # noqa: D102
        return self.part.bands + (self.matrix.bands if isinstance(self.matrix, Payload) else 0)

    def image(self, a: V, ops: Ops[V]) -> V:  # noqa: D102
        if isinstance(self.matrix, Payload):
            # Made of nothing but constants: a session decodes it once, when it is loaded.
            every = ops.param("every", np.arange(self._rows, dtype=np.int32))
            return ops.matmul(a, self.matrix.decode(every, ops.scope("matrix")))
        return ops.matmul(a, ops.param("matrix", self.matrix))


@dataclass(frozen=True)
class Columns(ImageOfPart):
    """Some columns of a part.

    Arrays:
        places: (k,) int32, which, in their order.

    Attributes:
        part: a payload.
    """

    places: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        check_payload("Columns.part", self.part)
        check_array("Columns.places", self.places, 1, "int32")
        if not len(self.places) or self.places.min() < 0 or self.places.max() >= self.part.k:
            raise ValueError(f"Columns.places must be one or more columns from 0 to {self.part.k - 1}")

    @property
    def k(self) -> int:  # noqa: D102
        return len(self.places)

    def image(self, a: V, ops: Ops[V]) -> V:  # noqa: D102
        return ops.columns(a, ops.param("places", self.places))


@dataclass(frozen=True)
class Repeated(ImageOfPart):
    """A part whose every column stands for several: one number for a block of a row.

    Attributes:
        part: a payload of ceil(dim / count) columns.
        count: columns that each of them stands for; the last one for what is left.
        dim: columns k.
    """

    count: int
    dim: int

    def __post_init__(self) -> None:
        check_payload("Repeated.part", self.part)
        if not all(isinstance(size, int) and size >= 1 for size in (self.count, self.dim)):
            raise ValueError(
                f"Repeated has blocks of {self.count!r} and dim {self.dim!r}: they must be integers of at least 1"
            )
        if self.part.k != -(-self.dim // self.count):
            raise ValueError(
                f"Repeated.part has {self.part.k} columns for {self.dim} columns in blocks of {self.count}"
            )

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    def image(self, a: V, ops: Ops[V]) -> V:  # noqa: D102
        return ops.repeat(a, self.part.k, self.count, self.dim)


@dataclass(frozen=True)
class Scaled(OfPart):
    """A part times scales, entry by entry or row by row.

    Attributes:
        part: a payload.
        scale: a payload of as many rows, of as many columns or of one.
    """

    scale: Payload

    def __post_init__(self) -> None:
        check_payload("Scaled.part", self.part)
        check_payload("Scaled.scale", self.scale)
        if self.scale.n != self.part.n or self.scale.k not in (1, self.part.k):
            raise ValueError(
                f"Scaled.scale is {self.scale.n} x {self.scale.k} for a part of {self.part.n} x {self.part.k}"
            )

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        return ops.mul(self.part.decode(rows, ops.scope("part")), self.scale.decode(rows, ops.scope("scale")))

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:  # noqa: D102
        if self.scale.k > 1:  # another scale in each column: no map of the part's columns goes before it
            return super().pooled(rows, ops, pool)
        scale = self.scale.decode(rows, ops.scope("scale"))
        return self.part.pooled(rows, ops.scope("part"), lambda a: pool(ops.mul(a, scale)))


@dataclass(frozen=True)
class Unaligned(ImageOfPart):
    """A part in coordinates of its own: not the table, but a linear map of it.

    Attributes:
        part: a payload.
    """

    def __post_init__(self) -> None:
        check_payload("Unaligned.part", self.part)

    @property
    def aligned(self) -> bool:  # noqa: D102
        return False

    def image(self, a: V, ops: Ops[V]) -> V:  # noqa: D102
        return a


@dataclass(frozen=True)
class Replaced(OfPart):
    """A part, a few rows of which are stored apart.

    Arrays:
        rows: (m,) int32, increasing, the ids of those rows.
        table: (m, k) float16 or float32.

    Attributes:
        part: a payload.
    """

    rows: npt.NDArray[np.int32]
    table: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        check_payload("Replaced.part", self.part)
        check_array("Replaced.rows", self.rows, 1, "int32")
        check_array("Replaced.table", self.table, 2, "float16", "float32")
        if self.table.shape != (len(self.rows), self.part.k):
            raise ValueError(f"Replaced.table is {self.table.shape}: it must be {(len(self.rows), self.part.k)}")
        if not len(self.rows) or self.rows[0] < 0 or self.rows[-1] >= self.n or (np.diff(self.rows) < 1).any():
            raise ValueError(f"Replaced.rows must be one or more increasing ids from 0 to {self.n - 1}")

    @property
    def width(self) -> int:  # noqa: D102
        return max(super().width, len(self.rows) // 4)  # an id is compared with every row, a byte each

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        ids = ops.wrap(rows, self.n)
        decoded = self.part.decode(ids, ops.scope("part"))
        return ops.replace(decoded, ids, ops.param("rows", self.rows), ops.param("table", self.table))

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:  # noqa: D102
        ids, replaced = ops.wrap(rows, self.n), ops.param("rows", self.rows)
        zero, one = (ops.param(name, np.full(1, value, np.float32)) for name, value in (("zero", 0), ("one", 1)))
        gone = ops.param("gone", np.zeros((len(self.rows), 1), np.float16))
        kept = ops.replace(one, ids, replaced, gone)
        others = self.part.pooled(ids, ops.scope("part"), lambda a: pool(ops.mul(a, kept)))
        return ops.add(others, pool(ops.replace(zero, ids, replaced, ops.param("table", self.table))))


@dataclass(frozen=True)
class Stacked(Payload):
    """Parts one under the other: bands of rows that are stored differently.

    Arrays:
        places: (n,) int32, where each id's row lies in the stack; None when the rows lie in order.

    Attributes:
        parts: two payloads or more of as many columns.
    """

    parts: tuple[Payload, ...]
    places: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        check_payloads("Stacked.parts", self.parts)
        columns = [part.k for part in self.parts]
        if len(columns) < 2 or len(set(columns)) > 1:
            raise ValueError(f"Stacked.parts have {columns} columns: there must be two or more of one width")
        if self.places is not None:
            check_array("Stacked.places", self.places, 1, "int32")
            if not np.array_equal(np.sort(self.places), np.arange(self.n)):
                raise ValueError(f"Stacked.places must hold each of 0 to {self.n - 1} once")

    @property
    def n(self) -> int:  # noqa: D102
        return sum(part.n for part in self.parts)

    @property
    def bands(self) -> int:  # noqa: D102
        return sum(part.bands for part in self.parts)

    @property
    def k(self) -> int:  # noqa: D102
        return self.parts[0].k

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        ids = ops.wrap(rows, self.n)
        if self.places is not None:
            ids = ops.pick(ops.param("places", self.places), ids)
        first, last = self.parts[0], len(self.parts) - 1
        chosen, start = first.decode(ops.within(ids, 0, first.n), ops.scope("parts.0")), first.n
        for i, part in enumerate(self.parts[1:], 1):
            # Only the last part may be asked for a row that it does not have: an id that is too large must be an error.
            local = ops.within(ids, start, None if i == last else part.n)
            chosen = ops.from_row(ids, start, part.decode(local, ops.scope(f"parts.{i}")), chosen)
            start += part.n
        return chosen


@dataclass(frozen=True)
class Interleaved(Payload):
    """Rows of two parts, each in its order, that lie between each other in any way.

    Arrays:
        ranks: (n,) uint8, how many rows of its part come before a row in its block of 128; 128 more of the second part.
        starts: of each part (ceil(n / 128),) int32, how many of its rows come before each block.

    Attributes:
        parts: two payloads of as many columns.
    """

    parts: tuple[Payload, ...]
    ranks: npt.NDArray[np.uint8]
    starts: tuple[npt.NDArray[np.int32], ...]

    BLOCK: ClassVar[int] = 128

    @classmethod
    def of(cls, first: Payload, second: Payload, second_ones: npt.NDArray[np.bool_]) -> Interleaved:
        """A row is one of `second` where `second_ones`, (n,), says so."""
        return cls((first, second), *cls._counted(len(second_ones), lambda rows: second_ones[rows]))

    @classmethod
    def _counted(
        cls, n: int, second: Callable[[slice], npt.NDArray[np.bool_]]
    ) -> tuple[npt.NDArray[np.uint8], tuple[npt.NDArray[np.int32], ...]]:
        """Ranks and starts of n rows, where `second` says of a range which are of the second part."""
        ranks, starts = rows_array((n,), np.uint8), np.empty((2, -(-n // cls.BLOCK)), np.int32)
        places, seen = np.arange(cls.BLOCK, dtype=np.uint8), 0
        for start in range(0, n, step := cls.BLOCK << 13):
            rows = slice(start, min(start + step, n))
            blocks = np.pad(second(rows), (0, -(rows.stop - start) % cls.BLOCK)).reshape(-1, cls.BLOCK)
            before = np.cumsum(blocks, axis=1, dtype=np.uint8) - blocks  # of the second part
            ranks[rows] = np.where(blocks, before + np.uint8(cls.BLOCK), places - before).ravel()[: rows.stop - start]
            here = slice(start // cls.BLOCK, start // cls.BLOCK + len(blocks))
            counts = np.count_nonzero(blocks, axis=1)
            starts[1, here] = seen + np.cumsum(counts) - counts
            starts[0, here] = np.arange(start, rows.stop, cls.BLOCK) - starts[1, here]
            seen += int(counts.sum())
            give_back(ranks)
        return ranks, tuple(starts)

    def __post_init__(self) -> None:
        check_payloads("Interleaved.parts", self.parts)
        if len(self.parts) != 2 or self.parts[0].k != self.parts[1].k:
            raise ValueError(
                f"Interleaved.parts have {[part.k for part in self.parts]} columns: there must be two of one width"
            )
        check_array("Interleaved.ranks", self.ranks, 1, "uint8")
        if not isinstance(self.starts, tuple) or len(self.starts) != 2:
            raise ValueError("Interleaved.starts must be a tuple of two arrays, one of each part")
        for i, each in enumerate(self.starts):
            check_array(f"Interleaved.starts.{i}", each, 1, "int32")
        sizes, n = [part.n for part in self.parts], len(self.ranks)
        ranks, starts = self._counted(n, lambda rows: self.ranks[rows] >= self.BLOCK)
        of_second = np.count_nonzero(ranks >= self.BLOCK)
        counted = np.array_equal(self.ranks, ranks) and all(map(np.array_equal, self.starts, starts))
        give_back(self.ranks, ranks)
        if [n - of_second, of_second] != sizes or not counted:
            raise ValueError(
                f"Interleaved.ranks and starts must count {sizes[0]} and {sizes[1]} rows, those of the parts"
            )

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.ranks)

    @property
    def bands(self) -> int:  # noqa: D102
        return sum(part.bands for part in self.parts)

    @property
    def k(self) -> int:  # noqa: D102
        return self.parts[0].k

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        ids = ops.wrap(rows, self.n)
        ranks = ops.pick(ops.param("ranks", self.ranks), ids)
        size, one = (ops.param(name, np.array(value)) for name, value in (("block", self.BLOCK), ("one", 1)))
        block, rank = ops.digit(ids, size, None), ops.digit(ranks, one, self.BLOCK)
        decoded = []
        for i, part in enumerate(self.parts):
            start = ops.pick(ops.param(f"starts.{i}", self.starts[i]), block)
            # Of a row of the other part it is some row, which is not taken.
            place = ops.within(ops.add(start, rank), 0, part.n)
            decoded.append(part.decode(place, ops.scope(f"parts.{i}")))
        return ops.from_row(ranks, self.BLOCK, decoded[1], decoded[0])
