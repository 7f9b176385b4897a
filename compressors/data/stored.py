"""Rows that are stored in other numbers, and made floats where they are read: never all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Rows = slice | npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """An (n, d) table of floats that is made of stored numbers, row by row, each time that it is read.

    Attributes:
        shape: (n, d).
        dtype: of what is read, float32 or float16.
        make: rows, a range or ids from 0 on -> (len, d) of `dtype`. Called from several threads.
        stored: what the numbers are stored as: `bfloat16`.
        nbytes: that they take so, scales beside them included.

    Example:
        >>> import numpy as np
        >>> codes, scales = np.int8([[1, -2], [3, 4], [5, 6]]), np.float32([[0.5], [1], [2]])
        >>> rows = StoredRows((3, 2), np.dtype("float32"), lambda rows: codes[rows] * scales[rows], "int8", 18)
        >>> rows[1:]
        array([[ 3.,  4.],
               [10., 12.]], dtype=float32)
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[Rows], Floats]
    stored: str
    nbytes: int

    @property
    def ndim(self) -> int:
        """2 for a table."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Floats:
        return self.make(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        return np.asarray(self.make(slice(None)), dtype)

    def only(self, rows: Rows) -> StoredRows:
        """The rows that are asked for, in that order, still made where they are read."""
        kept = range(self.shape[0])[rows] if isinstance(rows, slice) else rows
        return replace(
            self,
            shape=(len(kept), *self.shape[1:]),
            make=_Only(self.make, kept),
            nbytes=self.nbytes * len(kept) // self.shape[0],
        )


@dataclass(frozen=True)
class _Only:
    """Some of the rows that `make` makes."""

    make: Callable[[Rows], Floats]
    kept: range | npt.NDArray[np.integer]

    def __call__(self, rows: Rows) -> Floats:
        return self.make(picked(self.kept, rows))


def picked(rows: range | npt.NDArray[np.integer], some: Rows) -> Rows:
    """Those that `some` picks of `rows`, which are ids or consecutive.

    >>> picked(range(10, 20), slice(2, 4)), picked(range(10, 20), np.array([9, 0]))
    (slice(12, 14, None), array([19, 10]))
    """
    if not isinstance(rows, range):
        return rows[some]
    if isinstance(some, slice):
        found = rows[some]
        return slice(found.start, found.stop)
    return some + rows.start
