"""NumPy's `.npy`: one array, memory-mapped.

Format: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eigenselect.compressors.data.table import Floats

MAGIC = b"\x93NUMPY"


def read(path: Path) -> Floats:
    """Map a `.npy` file; nothing is loaded and the order of the file, C or Fortran, is kept.

    Returns:
        A read-only (n, d) memmap, float32 or float16.

    Raises:
        ValueError: not a whole `.npy` file, or an array of neither float32 nor float16.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy lets tokenizer, overflow and mmap errors of a corrupt header through
        detail = " ".join(str(error).split())
        raise ValueError(
            f"{path}: not a whole .npy file of numbers ({detail}): save it again with numpy.save"
        ) from error
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise ValueError(f"{path}: {surplus} bytes after the array: a table is one .npy array; save it alone")
    if array.dtype not in (np.float32, np.float16):
        raise ValueError(
            f"{path}: holds {array.dtype}, float32 or float16 is needed: "
            'numpy.save(new, numpy.load(old).astype("float32"))'
        )
    return array
