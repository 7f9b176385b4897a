"""safetensors files of arrays that may be larger than memory: written a block at a time, mapped where they are read.

Format: https://github.com/huggingface/safetensors#format. The library checks what is read; it also writes files, but
has every array in memory meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

from eigenselect.compressors.data.arrays import Array, give_back, is_large

BLOCK_BYTES = 1 << 24

TYPES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4"},
    **{"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8"},
}
"""What the format calls numpy's types, in the order that it has for them: the last ones lie first in a file."""

_NAMES = {np.dtype(code): name for name, code in TYPES.items()}


def save_arrays(arrays: Mapping[str, Array], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, to the byte what the library writes.

    Raises:
        ValueError: an array of a type that the format does not have.
    """
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise ValueError(f"{name} is {array.dtype}: a payload file holds {', '.join(map(str, _NAMES))}")
    order = [*TYPES]
    types = {name: _NAMES[array.dtype.newbyteorder("<")] for name, array in arrays.items()}
    names = sorted(arrays, key=lambda name: (-order.index(types[name]), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": types[name], "shape": [*arrays[name].shape], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for block in byte_blocks(arrays[name]):
                file.write(block)


def byte_blocks(array: Array) -> Iterator[bytes]:
    """The bytes of an array, little-endian in C order, a block of rows at a time."""
    rows = max(1, BLOCK_BYTES * len(array) // max(array.nbytes, 1)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, rows):
        block = array[start : start + rows] if array.ndim else array
        yield block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()
        give_back(array)


def load_arrays(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a safetensors file, large ones mapped, and its metadata.

    Raises:
        OSError: the file cannot be read.
        safetensors.SafetensorError: it is no such file.
    """
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        with path.open("rb") as raw:
            start = 8 + int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(start - 8))
        arrays: dict[str, Array] = {}
        for name in file.keys():
            entry = header[name]
            first, end = entry["data_offsets"]
            if is_large(end - first) and entry["dtype"] in TYPES:
                arrays[name] = np.memmap(path, TYPES[entry["dtype"]], "r", start + first, tuple(entry["shape"]))
            else:
                arrays[name] = file.get_tensor(name)
    return arrays, metadata
