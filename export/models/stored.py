"""Tensors of a model file as arrays: large ones are memory-mapped, never loaded whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


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


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the values lie in a data file beside the model."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def nbytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the values in the file."""
    if is_external(tensor):
        whole = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        return int(_entries(tensor).get("length", whole))
    return int(len(tensor.raw_data) if tensor.HasField("raw_data") else tensor.ByteSize())


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
    """The values of a tensor of a model in `folder`, memory-mapped where they are external.

    Raises:
        ValueError: the data file cannot be used (see `place`).
    """
    if not is_external(tensor):
        found: npt.NDArray[Any] = numpy_helper.to_array(tensor)
        return found
    path, offset, length = place(tensor, folder)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    if not length or length != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {tensor.name!r} of shape {list(shape)} has {length} bytes in {path}: fetch it again")
    return np.memmap(path, dtype, "r", offset, shape)
