"""Arrays as long as a table: in memory while they are small, files that are mapped into it where they are not."""

from __future__ import annotations

import errno
import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IN_MEMORY = 1 << 26
"""Bytes up to which an array is held in memory: what is larger grows with the table, and memory need not."""


def is_large(nbytes: int) -> bool:
    """Whether an array of so many bytes is a file."""
    return nbytes > IN_MEMORY


def rows_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An array for what there is of each row of a table; its entries are whatever was there.

    Above `IN_MEMORY` bytes it is a file in the folder for temporary files (`TMPDIR`), which has no name there and is
    gone with the array, however the process ends.

    Raises:
        OSError: there is no room for the file.

    Example:
        >>> rows_array((2, 3), "uint8").shape
        (2, 3)
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not is_large(nbytes):
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        _reserve(file.fileno(), nbytes)
        return np.memmap(file, dtype, "r+", shape=shape)


def _reserve(file: int, nbytes: int) -> None:
    """Make a file so long on its disk: one with holes would end the process where the disk is full."""
    if not hasattr(os, "posix_fallocate"):
        os.truncate(file, nbytes)
        return
    try:
        os.posix_fallocate(file, 0, nbytes)
    except OSError as error:
        raise with_cure(error, f"{nbytes:,} bytes of codes") from error


def with_cure(error: OSError, what: str) -> OSError:
    """The error of writing a temporary file; where its disk is full, with what had no room and what helps."""
    if error.errno != errno.ENOSPC:
        return error
    cure = "make room, or set TMPDIR to a folder on another disk"
    return OSError(error.errno, f"no room for {what}; {cure}", tempfile.gettempdir())


def give_back(*arrays: Array) -> None:
    """Let go of the memory that mapped files take: what is read of them again comes from the file again.

    Nothing is lost, and of arrays in memory nothing is let go.
    """
    for array in arrays:
        mapped: Any = array
        while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
            mapped = mapped.base
        # Of a map that is changed in memory alone (mode c) the changes would be lost.
        if isinstance(mapped, np.memmap) and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
            mapped._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # numpy has no other name for it
