"""Tensors of a model file as arrays: large ones are memory-mapped, never loaded whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

PAIRED = (TensorProto.INT4, TensorProto.UINT4)

FLOAT8 = {
    TensorProto.FLOAT8E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
    TensorProto.FLOAT8E4M3FNUZ: np.dtype(ml_dtypes.float8_e4m3fnuz),
    TensorProto.FLOAT8E5M2: np.dtype(ml_dtypes.float8_e5m2),
    TensorProto.FLOAT8E5M2FNUZ: np.dtype(ml_dtypes.float8_e5m2fnuz),
}


def read_model(path: Path) -> onnx.ModelProto:
    """A model without its external data.

    Raises:
        ValueError: not a valid ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(str(path))
    except Exception as error:  # protobuf and the checker have exception classes of their own
        detail = " ".join(str(error).split())
        raise ValueError(f"{path} is not a valid ONNX model ({detail}): fetch or export it again") from error
    return model


def type_name(type_: int) -> str:
    """What numpy calls an element type."""
    return str(helper.tensor_dtype_to_np_dtype(type_).name)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the values lie in a data file beside the model."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def nbytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the values in the file."""
    if is_external(tensor):
        return int(_entries(tensor).get("length", _size(tensor)))
    return int(len(tensor.raw_data) if tensor.HasField("raw_data") else tensor.ByteSize())


def _size(tensor: onnx.TensorProto) -> int:
    """Bytes of that many values: two of four bits are in one."""
    count = int(math.prod(tensor.dims))
    return -(-count // 2) if tensor.data_type in PAIRED else count * int(_dtype(tensor).itemsize)


def _dtype(tensor: onnx.TensorProto) -> np.dtype[Any]:
    """Type of the values in the file, of whole bytes."""
    found: np.dtype[Any] = FLOAT8.get(tensor.data_type) or helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return found


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def place(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, int, int]:
    """Data file, offset and length of an external tensor of a model in `folder`.

    Raises:
        ValueError: the file is not there, ends too early, or is not inside of the model's folder.
    """
    entries = _entries(tensor)
    path = folder / entries.get("location", "")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"tensor {tensor.name!r} names the data file {path}, outside of its folder: move it in")
    if not path.is_file():
        raise ValueError(f"the data file {path} of tensor {tensor.name!r} is missing: put it beside the model")
    offset, length = int(entries.get("offset", 0)), nbytes(tensor)
    if offset + length > path.stat().st_size:
        raise ValueError(
            f"the data file {path} has {path.stat().st_size} bytes, tensor {tensor.name!r} ends at {offset + length}: "
            "fetch it again"
        )
    return path, offset, length


def array(tensor: onnx.TensorProto, folder: Path) -> npt.NDArray[Any]:
    """The values of a tensor of a model in `folder`, memory-mapped where they are external and of whole bytes.

    Those of four bits come as int8 or uint8.

    Raises:
        ValueError: the data file cannot be used (see `place`), or the values are not as many as the shape says.
    """
    shape = tuple(tensor.dims)
    if not is_external(tensor) and tensor.data_type not in (*PAIRED, *FLOAT8):
        try:
            found: npt.NDArray[Any] = numpy_helper.to_array(tensor)
        except Exception as error:  # it raises what its own code happens to
            raise ValueError(f"tensor {tensor.name!r} does not hold {list(shape)} values: fetch it again") from error
        return found
    data, size = _bytes(tensor, folder), _size(tensor)
    if not size or len(data) != size:
        raise ValueError(f"tensor {tensor.name!r} of shape {list(shape)} has {len(data)} bytes: fetch it again")
    if tensor.data_type in PAIRED:
        values = _pairs(data, signed=tensor.data_type == TensorProto.INT4)[: math.prod(shape)]
    else:
        values = data.view(_dtype(tensor))
    return values.reshape(shape)


def _bytes(tensor: onnx.TensorProto, folder: Path) -> npt.NDArray[np.uint8]:
    """The values as they are stored."""
    if not is_external(tensor):
        raw = tensor.raw_data if tensor.HasField("raw_data") else bytes(value & 255 for value in tensor.int32_data)
        return np.frombuffer(raw, np.uint8)
    path, offset, length = place(tensor, folder)
    return np.memmap(path, np.uint8, "r", offset, (length,)) if length else np.empty(0, np.uint8)


def _pairs(data: npt.NDArray[np.uint8], signed: bool) -> npt.NDArray[Any]:
    """Two numbers of each byte, that of the low bits first."""
    pairs = np.stack([data & 15, data >> 4], axis=-1).ravel()
    return ((pairs ^ 8).astype(np.int8) - 8) if signed else pairs
