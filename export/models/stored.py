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

from eigenselect.compressors.words import brief, quoted

PAIRED = (TensorProto.INT4, TensorProto.UINT4)

FLOAT8 = {
    TensorProto.FLOAT8E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
    TensorProto.FLOAT8E4M3FNUZ: np.dtype(ml_dtypes.float8_e4m3fnuz),
    TensorProto.FLOAT8E5M2: np.dtype(ml_dtypes.float8_e5m2),
    TensorProto.FLOAT8E5M2FNUZ: np.dtype(ml_dtypes.float8_e5m2fnuz),
}


MOST_DIGITS = 18


def read_model(path: Path) -> onnx.ModelProto:
    """A model without its external data.

    Raises:
        ValueError: not a valid ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        linked = [each for each in _external(model.graph) if (path.parent / _location(each)).is_symlink()]
        if linked:  # the checker refuses links, which runtimes take
            onnx.checker.check_model(_with_data_inside(model))
            for tensor in linked:
                place(tensor, path.parent)
        else:
            onnx.checker.check_model(str(path))
        _check_text(model)
        _check_types(model)
    except Exception as error:  # protobuf and the checker have exception classes of their own
        raise ValueError(f"{path} is not a valid ONNX model ({brief(error)}): fetch or export it again") from error
    return model


def _external(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in graph.initializer if is_external(tensor)]


def _location(tensor: onnx.TensorProto) -> str:
    return _entries(tensor).get("location", "")


def _with_data_inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a byte in the place of each tensor of a data file: what checks the rest asks for no more."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    for tensor in _external(found.graph):
        tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=TensorProto.UINT8, dims=[1], raw_data=b"\0"))
    return found


def _check_text(model: onnx.ModelProto) -> None:
    """Raise a ValueError unless every name is text: protobuf gives bytes for one that is no UTF-8."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    for graph in graphs:  # grows while it is read
        nodes.extend(graph.node)
        for node in graph.node:
            for attribute in node.attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
    texts = [
        *(text for node in nodes for text in (node.name, node.op_type, node.domain, *node.input, *node.output)),
        *(tensor.name for graph in graphs for tensor in graph.initializer),
        *(part.value for graph in graphs for tensor in graph.initializer for part in tensor.external_data),
        *(value.name for graph in graphs for value in (*graph.input, *graph.output)),
        *(dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim),
    ]
    if any(isinstance(text, bytes) for text in texts):
        raise ValueError("a name is no UTF-8")


def _check_types(model: onnx.ModelProto) -> None:
    """Raise a ValueError unless the inputs and outputs are of types that there are: the checker takes any number."""
    for value in (*model.graph.input, *model.graph.output):
        if (type_ := value.type.tensor_type.elem_type) not in TensorProto.DataType.values():
            raise ValueError(f"{value.name} has the element type {type_}, which ONNX has not")


def type_name(type_: int) -> str:
    """What numpy calls an element type."""
    return str(helper.tensor_dtype_to_np_dtype(type_).name)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the values lie in a data file beside the model."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def nbytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the values in the file."""
    if is_external(tensor):
        return _number(tensor, "length", _size(tensor))
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


def _number(tensor: onnx.TensorProto, key: str, default: int) -> int:
    """An offset or a length in a data file."""
    given = _entries(tensor).get(key, str(default))
    if not given.isascii() or not given.isdecimal() or len(given) > MOST_DIGITS:
        raise ValueError(
            f"tensor {quoted(tensor.name)} has the {key} {quoted(given)} in its data file: must be an integer of at "
            "least 0; fetch the model again"
        )
    return int(given)


def place(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, int, int]:
    """Data file, offset and length of an external tensor of a model in `folder`.

    Raises:
        ValueError: the file is not there, ends too early, or is not inside of the model's folder; where that folder is
            one of links, as in the cache of the Hugging Face Hub, they may all lead to one other folder.
    """
    path = folder / _location(tensor)
    if not (path.resolve().is_relative_to(folder.resolve()) or _is_in_a_cache(path, folder)):
        raise ValueError(f"tensor {quoted(tensor.name)} names the data file {path}, outside of its folder: move it in")
    if not path.is_file():
        raise ValueError(f"the data file {path} of tensor {quoted(tensor.name)} is missing: put it beside the model")
    offset, length = _number(tensor, "offset", 0), nbytes(tensor)
    if offset + length > path.stat().st_size:
        has, end = path.stat().st_size, offset + length
        raise ValueError(
            f"the data file {path} has {has} bytes, tensor {quoted(tensor.name)} ends at {end}: fetch it again"
        )
    return path, offset, length


def _is_in_a_cache(path: Path, folder: Path) -> bool:
    """Whether a file is a link of the Hugging Face Hub's cache: from `snapshots/REVISION` to the `blobs` beside it."""
    if not path.is_symlink() or ".." in path.relative_to(folder).parts:
        return False
    of_revision = (parent for parent in (folder / "x").absolute().parents if parent.parent.name == "snapshots")
    return any(path.resolve().parent == (each.parent.with_name("blobs")).resolve() for each in of_revision)


def check(tensor: onnx.TensorProto, folder: Path) -> None:
    """Raise a ValueError unless the file holds as many bytes of values as the shape of a tensor says."""
    if is_external(tensor):
        place(tensor, folder)
    elif not tensor.HasField("raw_data"):
        array(tensor, folder)
        return
    if nbytes(tensor) != _size(tensor):
        raise ValueError(_unlike(tensor, nbytes(tensor)))


def _unlike(tensor: onnx.TensorProto, size: int) -> str:
    shape = " x ".join(map(str, tensor.dims)) or "()"
    return f"tensor {quoted(tensor.name)} of shape {shape} has {size} bytes: fetch the model again"


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
            raise ValueError(_unlike(tensor, nbytes(tensor))) from error
        return found
    data, size = _bytes(tensor, folder), _size(tensor)
    if not size or len(data) != size:
        raise ValueError(_unlike(tensor, len(data)))
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
