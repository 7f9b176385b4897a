"""Objects that are handed to another process: large arrays are files that both map, the rest is copied.

A table is therefore in memory once, or not at all, however many processes read it.
"""

from __future__ import annotations

import io
import mmap
import pickle
import types
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.stored import StoredRows
from eigenselect.compressors.data.tensor_file import byte_blocks

LARGE = 1 << 20
"""Bytes from which an array is a file."""

BLOCK_BYTES = 1 << 24

Array = npt.NDArray[Any]


def packed(value: object, folder: Path) -> bytes:
    """What `unpacked` makes the value of, while there are the files that this puts into the empty folder `folder`."""
    folder.mkdir()
    written = io.BytesIO()
    _Pickler(written, folder).dump(value)
    return written.getvalue()


def unpacked(given: bytes) -> Any:
    """The value that a process of ours has packed."""
    return pickle.loads(given)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._folder, self._count = folder, 0

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, StoredRows) and isinstance(value.make, types.FunctionType):
            if value.make.__closure__ is not None:  # which cannot be handed over: its rows are
                rows = self._map((value[span] for span in _spans(value)), value.shape, value.dtype)
                return StoredRows, (value.shape, value.dtype, rows.__getitem__, value.stored, value.nbytes)
        elif isinstance(value, np.ndarray) and value.nbytes >= LARGE:
            return _mapped, _place(value) or self._written(value)
        return NotImplemented

    def _written(self, array: Array) -> tuple[Any, ...]:
        path = self._next()
        with path.open("wb") as file:
            file.writelines(byte_blocks(array))
        return path, array.dtype.newbyteorder("<"), 0, array.shape, "C"

    def _map(self, blocks: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        path = self._next()
        with path.open("wb") as file:
            file.writelines(np.ascontiguousarray(block).tobytes() for block in blocks)
        return _mapped(path, dtype, 0, shape, "C")

    def _next(self) -> Path:
        self._count += 1
        return self._folder / f"array-{self._count}"


def _spans(rows: StoredRows) -> list[slice]:
    step = max(1, BLOCK_BYTES // (4 * rows.shape[1]))
    return [slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step)]


def _place(array: Array) -> tuple[Any, ...] | None:
    """File, type, offset, shape and order of an array that is a part of a file already; None of any other."""
    whole: Any = array
    while isinstance(whole, np.ndarray) and not isinstance(whole.base, mmap.mmap):
        whole = whole.base
    contiguous = array.flags.c_contiguous or array.flags.f_contiguous
    if not isinstance(whole, np.memmap) or whole.filename is None or whole.mode != "r" or not contiguous:
        return None
    offset = whole.offset + array.ctypes.data - whole.ctypes.data
    return whole.filename, array.dtype, offset, array.shape, "C" if array.flags.c_contiguous else "F"


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: Literal["C", "F"]) -> Array:
    return np.memmap(path, dtype, "r", offset, shape, order)
