"""safetensors: the library checks the file, then one tensor of it is memory-mapped.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from eigenselect.compressors.data.table import Floats

ROWS_BYTES = 1 << 24
"""bfloat16 is widened this many bytes at a time."""

LISTED = 20
"""Tensors named in a message."""


def read(path: Path, tensor: str | None = None) -> Floats:
    """Map one tensor of a safetensors file.

    Args:
        path: the file.
        tensor: its name; None takes the only 2-D float tensor.

    Returns:
        (n, d): a read-only memmap for F32 and F16; a float32 array of the same numbers for BF16, which NumPy
        lacks.

    Raises:
        ValueError: not a whole safetensors file; no tensor of that name; none or several to choose from; a
            dtype other than F32, F16 and BF16.
    """
    header, start = _header(path)
    name = _choose(path, header, tensor)
    dtype, shape = header[name]["dtype"], tuple(header[name]["shape"])
    offset = start + header[name]["data_offsets"][0]
    if dtype not in ("F32", "F16", "BF16"):
        raise ValueError(
            f"{path}: tensor {name!r} holds {dtype}, F32, F16 or BF16 is needed: "
            "save a float32 copy of it (tensor.float(), safetensors.torch.save_file)"
        )
    if dtype != "BF16":
        return np.memmap(path, "<f4" if dtype == "F32" else "<f2", "r", offset, shape)
    return _widened(np.memmap(path, "<u2", "r", offset, shape))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The entries of the header by tensor name, and where the data start."""
    try:
        with safe_open(path, framework="np"):
            pass  # opening is what checks sizes, offsets and overlaps
    except SafetensorError as error:
        detail = " ".join(str(error).split())
        raise ValueError(f"{path}: not a whole safetensors file ({detail}): fetch or save it again") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _choose(path: Path, header: dict[str, Any], tensor: str | None) -> str:
    tables = [k for k, v in header.items() if len(v["shape"]) == 2 and "F" in v["dtype"]]
    listed = ", ".join(f"{k!r} {header[k]['shape']} {header[k]['dtype']}" for k in tables[:LISTED])
    listed += f" and {len(tables) - LISTED} more" if len(tables) > LISTED else ""
    listed = f"2-D float tensors: {listed or 'none'}"
    if tensor is None and len(tables) == 1:
        return tables[0]
    if tensor is None:
        raise ValueError(f"{path}: {len(tables)} tensors could be the table; name one with table.tensor; {listed}")
    if tensor not in header:
        raise ValueError(f"{path}: no tensor {tensor!r} in {len(header)}; {listed}")
    return tensor


def _widened(halves: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Float32 numbers whose upper 16 bits are `halves`; exact."""
    wide = np.empty(halves.shape, np.uint32)
    source, target = halves.reshape(-1), wide.reshape(-1)
    for at in range(0, source.size, ROWS_BYTES // 4):
        part = slice(at, at + ROWS_BYTES // 4)
        np.left_shift(source[part], 16, out=target[part], dtype=np.uint32)
    return wide.view(np.float32)
