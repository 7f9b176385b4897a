"""Resident memory that a model's session holds, printed as bytes: `eigenselect export.memory MODEL [IDS]`.

A process of its own, because an allocator that already holds freed pages hides what a session asks for. What was freed
by the end of loading is given back first: how much of it an allocator keeps is chance.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime as ort


def resident_bytes() -> int:
    """Resident set of this process; where there is no /proc, the largest it has been."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(path: str, ids: str | None = None) -> None:
    """Load `path`, look the rows 0..ids-1 up if `ids` is given, and print by how much the resident memory grew."""
    batch = None if ids is None else np.arange(int(ids), dtype=np.int64)
    before = resident_bytes()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if batch is not None:
        session.run(None, {"ids": batch})
    with suppress(AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)
    print(resident_bytes() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
