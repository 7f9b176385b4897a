"""The file beside a model that its large arrays lie in, as ONNX's external data: written a block at a time."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import helper

from eigenselect.compressors.data.tensor_file import byte_blocks
from eigenselect.compressors.payloads.ops import Array

PAGE_BYTES = 1 << 12
"""Arrays begin at multiples of it, so that a session maps them and holds what is looked up alone."""


def data_file(path: Path) -> Path:
    """The data file of a model that is written to `path`."""
    return path.with_name(f"{path.name}.data")


def model_bytes(path: Path) -> int:
    """Bytes of a model and of its data file, if there is one."""
    return sum(file.stat().st_size for file in (path, data_file(path)) if file.exists())


def pad(data: BinaryIO, residue: int, modulus: int) -> int:
    """Go on to the next position that leaves `residue`, and say which that is."""
    data.write(bytes((residue - data.tell()) % modulus))
    return data.tell()


def point(tensor: onnx.TensorProto, path: Path, offset: int, length: int) -> None:
    """Say where a tensor of the model at `path` lies in its data file."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    kept = [entry for entry in tensor.external_data if entry.key not in ("location", "offset", "length")]
    del tensor.external_data[:]
    for key, value in (("location", data_file(path).name), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    tensor.external_data.extend(kept)


def outside(name: str, array: Array, path: Path, data: BinaryIO) -> onnx.TensorProto:
    """The tensor `name` of the model at `path`, whose values are written to its data file."""
    offset = pad(data, 0, PAGE_BYTES)
    data.writelines(byte_blocks(array))
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
    point(tensor, path, offset, array.nbytes)
    return tensor
