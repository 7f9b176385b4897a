"""The native library: faster kernels of the operators in `export.operators.functions`, built on demand.

A session that the library is registered with runs its kernels in place of the functions' bodies; any other session runs
the bodies. The rows are the same to the bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort

LIBRARY = Path(__file__).with_name("libeigenselect.so")
"""Where `export.native.build` puts the library."""


def library() -> Path | None:
    """The library, if it has been built."""
    return LIBRARY if LIBRARY.exists() else None


def register(options: ort.SessionOptions) -> None:
    """Have the sessions made with `options` use the library.

    Raises:
        ValueError: the library has not been built.
    """
    path = library()
    if path is None:
        raise ValueError(f"there is no {LIBRARY}: build it with make native, or do without, more slowly")
    options.register_custom_ops_library(str(path))
