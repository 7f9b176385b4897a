"""safetensors: the library checks the file, then one tensor of it is memory-mapped.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.words import brief, quoted
from eigenselect.selector.sources.format import Format, Tensor

TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, memory-mapped when they are read.

    Raises:
        ValueError: not a whole safetensors file.
    """
    header, start = _header(path)
    return {
        name: Tensor(
            path,
            tuple(entry["shape"]),
            entry["dtype"],
            entry["data_offsets"][1] - entry["data_offsets"][0],
            partial(_mapped, path, name, entry, start),
        )
        for name, entry in header.items()
    }


def _mapped(path: Path, name: str, entry: dict[str, Any], start: int) -> npt.NDArray[Any]:
    if entry["dtype"] not in TYPES:
        raise ValueError(
            f"{path}: tensor {quoted(name)} holds {entry['dtype']}, which is not read: "
            "save a float32 copy of it (tensor.float(), safetensors.torch.save_file)"
        )
    dtype, shape = np.dtype(TYPES[entry["dtype"]]), tuple(entry["shape"])
    if not shape or 0 in shape:  # which cannot be mapped
        return np.fromfile(path, dtype, int(np.prod(shape)), offset=start + entry["data_offsets"][0]).reshape(shape)
    return np.memmap(path, dtype, "r", start + entry["data_offsets"][0], shape)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The entries of the header by tensor name, and where the data start."""
    try:
        with safe_open(path, framework="np"):
            pass  # opening is what checks sizes, offsets and overlaps
    except SafetensorError as error:
        detail = brief(error)
        raise ValueError(f"{path}: not a whole safetensors file ({detail}): fetch or save it again") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parsed(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _starts(path: Path, head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


FORMAT = Format(name="safetensors", starts=_starts, tensors=tensors, files="*.safetensors", named=True)
