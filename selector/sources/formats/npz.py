"""NumPy's `.npz`: a zip archive of `.npy` arrays, read through numpy.

Format: https://numpy.org/doc/stable/reference/generated/numpy.savez.html
"""

from __future__ import annotations

import math
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.format import Format, Tensor
from eigenselect.selector.sources.stream import ZIP_START, members


def tensors(path: Path) -> dict[str, Tensor]:
    """The arrays of a `.npz` file; one is loaded when it is read.

    Raises:
        ValueError: an array in it is not whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _tensor(path, archive, name) for name in members(path)}
    except Exception as error:  # of zip, zlib and numpy: there are many
        raise _not_whole(path, error) from error


def _tensor(path: Path, archive: zipfile.ZipFile, member: str) -> Tensor:
    with archive.open(member) as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    name = member.removesuffix(".npy")
    return Tensor(path, shape, dtype.name, math.prod(shape) * dtype.itemsize, partial(_loaded, path, name))


def _loaded(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        with np.load(path) as archive:
            array: npt.NDArray[Any] = archive[name]
    except Exception as error:  # zip and zlib have many, and objects would be unpickled
        raise _not_whole(path, error) from error
    return array


def _not_whole(path: Path, error: Exception) -> ValueError:
    detail = brief(error)
    return ValueError(f"{path}: not a whole .npz file of numbers ({detail}): save it again with numpy.savez")


def _starts(path: Path, head: bytes) -> bool:
    names = members(path) if head.startswith(ZIP_START) else []
    return bool(names) and all(name.endswith(".npy") for name in names)


FORMAT = Format(name="npz", starts=_starts, tensors=tensors, files="*.npz", named=True)
