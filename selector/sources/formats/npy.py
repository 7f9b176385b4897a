"""NumPy's `.npy`: one array, memory-mapped.

Format: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.format import Format, Found

MAGIC = b"\x93NUMPY"


def read(path: Path) -> npt.NDArray[Any]:
    """Map a `.npy` file; nothing is loaded and the order of the file, C or Fortran, is kept.

    Returns:
        A read-only memmap of whatever numbers the file holds.

    Raises:
        ValueError: not a whole `.npy` file.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy lets tokenizer, overflow and mmap errors of a corrupt header through
        detail = brief(error)
        raise ValueError(
            f"{path}: not a whole .npy file of numbers ({detail}): save it again with numpy.save"
        ) from error
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise ValueError(f"{path}: {surplus} bytes after the array: a table is one .npy array; save it alone")
    return array


FORMAT = Format(
    name="npy",
    starts=lambda path, head: head.startswith(MAGIC),
    read=lambda request: Found(read(request.path)),
    files="*.npy",
)
