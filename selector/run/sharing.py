"""Objects that are handed to another process: large arrays are files that both map, the rest is copied.

A table is therefore in memory once, or not at all, however many processes read it.
"""

from __future__ import annotations

import io
import mmap
import pickle
import types
from collections.abc import Sequence
from functools import lru_cache
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


def packed_work(work: object, folder: Path, known: Sequence[tuple[object, Path]], base: type[pickle.Pickler]) -> bytes:
    """The same of a function that is made while the program runs, or an object with some, by a pickler for these.

    Args:
        work: the function or object.
        folder: for its files.
        known: objects of which there is a file already, packed, that is read once in each process.
        base: the pickler.
    """

    class Pickler(_Files, base):  # type: ignore[misc, valid-type]  # a class that is given
        def reducer_override(self, value: Any) -> Any:
            for each, path in known:
                if value is each:
                    return read_once, (path,)
            found = self.as_file(value)
            return super().reducer_override(value) if found is NotImplemented else found

    folder.mkdir()
    written = io.BytesIO()
    Pickler(written, folder).dump(work)
    return written.getvalue()


@lru_cache(maxsize=4)
def read_once(path: Path) -> Any:
    """What is packed in a file, which does not change."""
    return unpacked(path.read_bytes())


def unpacked(given: bytes) -> Any:
    """The value that a process of ours has packed."""
    return pickle.loads(given)


class _Files:
    """What picklers have in common: large arrays are files of a folder."""

    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[call-arg]  # of the pickler beside it
        self._folder, self._count = folder, 0

    def as_file(self, value: Any) -> Any:
        """How a large array is made again; NotImplemented for anything else."""
        if isinstance(value, np.ndarray) and value.nbytes >= LARGE:
            return _mapped, _place(value) or self._written(value)
        return NotImplemented

    def _written(self, array: Array) -> tuple[Any, ...]:
        path = self._next()
        with path.open("wb") as file:
            file.writelines(byte_blocks(array))
        return path, array.dtype.newbyteorder("<"), 0, array.shape, "C"

    def _next(self) -> Path:
        self._count += 1
        return self._folder / f"array-{self._count}"


class _Pickler(_Files, pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, StoredRows) and isinstance(value.make, types.FunctionType):
            if value.make.__closure__ is not None:  # which cannot be handed over: its rows are
                rows = self._map((value[span] for span in _spans(value)), value.shape, value.dtype)
                return StoredRows, (value.shape, value.dtype, rows.__getitem__, value.stored, value.nbytes)
            return NotImplemented
        return self.as_file(value)

    def _map(self, blocks: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        path = self._next()
        with path.open("wb") as file:
            file.writelines(np.ascontiguousarray(block).tobytes() for block in blocks)
        return _mapped(path, dtype, 0, shape, "C")


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
