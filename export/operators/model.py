"""A payload as an ONNX model: ids in, vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from eigenselect.compressors.codebooks.scalar import affine
from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import OPSET, Output, Target
from eigenselect.export.operators.data_file import data_file, outside
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.functions import DOMAIN
from eigenselect.export.operators.graph import Graph, stored
from eigenselect.export.operators.passes import half_rows
from eigenselect.version import __version__

IR_VERSION = 9
"""Read by every ONNX Runtime from 1.17."""

MAX_FILE_BYTES = (1 << 31) - (1 << 20)
"""Protocol buffers end at 2 GiB; the graph itself gets 1 MiB of it."""

OUTSIDE_BYTES = 1 << 26
"""Beyond so many bytes a payload's arrays lie in a file beside the model, which a session maps and need not hold."""

SMALL_BYTES = 1 << 16
"""Arrays up to this stay in the model's own file: levels, codebooks, matrices."""


def to_onnx(
    payload: Payload, *, opset: int = OPSET, target: Target = "portable", output: Output = "float32"
) -> onnx.ModelProto:
    """The model `ids (batch,) int64 -> vectors (batch, k)` that decodes `payload`.

    Its initializers are the payload's arrays under the same names: of evenly spaced codes a scale and a zero point, and
    for the cpu target another order of the columns; of others a lookup table in place of a codebook. Ids from -n to -1
    count from the end; others outside 0..n-1 are an error of the runtime.

    Args:
        payload: a payload.
        opset: of the model.
        target: which operators are used, where there is a choice.
        output: type of the vectors; float16 rounds the decoded rows, or the lookup table that alone makes them.

    Raises:
        ValueError: the payload is too large for one ONNX file, or its kind's decode cannot be written as a graph.

    Example:
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> model = to_onnx(Dense(np.array([[1, 2], [3, 4]], np.float32)))
        >>> session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        >>> session.run(None, {"ids": np.array([1, 0, 1])})
        [array([[3., 4.],
               [1., 2.],
               [3., 4.]], dtype=float32)]
    """
    if payload.nbytes > MAX_FILE_BYTES:
        raise ValueError(
            f"a payload of {payload.nbytes} bytes does not fit the {MAX_FILE_BYTES} of one ONNX file: "
            "eigenselect.export.write puts its arrays into a file beside the model"
        )
    return model_of(_graph(payload, opset, target, output), {"ids": "batch"}, "batch", payload.k, output)


def _graph(payload: Payload, opset: int, target: Target, output: Output) -> Graph:
    decoded = decode_graph(payload, "ids", opset=opset, target=target)
    return half_rows(decoded) if output == "float16" else decoded


def write(
    payload: Payload, path: Path, *, opset: int = OPSET, target: Target = "portable", output: Output = "float32"
) -> None:
    """Write the model of `to_onnx` to `path`; of a payload above `OUTSIDE_BYTES` with its arrays in a file beside it.

    That file is `path` with `.data` at the end, ONNX's external data: arrays of any size, never held in memory.

    Raises:
        ValueError: the payload's kind has a decode that cannot be written as a graph.
    """
    if payload.nbytes <= OUTSIDE_BYTES:
        save(to_onnx(payload, opset=opset, target=target, output=output), path)
        return
    decoded = _graph(payload, opset, target, output)
    with data_file(path).open("wb") as data:
        tensors = [
            stored(name, array) if array.nbytes <= SMALL_BYTES else outside(name, array, path, data)
            for name, array in decoded.arrays.items()
        ]
    path.write_bytes(
        model_of(decoded, {"ids": "batch"}, "batch", payload.k, output, tensors).SerializeToString(deterministic=True)
    )
    onnx.checker.check_model(path, full_check=True)


def model_of(
    decoded: Graph,
    inputs: Mapping[str, str],
    batch: str,
    k: int,
    output: Output,
    initializers: Sequence[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    """The model of a graph whose last node gives its vectors.

    Args:
        decoded: the graph.
        inputs: name -> name of the length of each int64 input.
        batch: name of the length of the vectors.
        k: their columns.
        output: their type.
        initializers: the stored arrays, where they are made already; what lies outside is checked once it is written.
    """
    nodes = decoded.named()
    nodes[-1].output[0] = "vectors"
    float_type = helper.np_dtype_to_tensor_dtype(np.dtype(output))
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [length]) for name, length in inputs.items()],
        [helper.make_tensor_value_info("vectors", float_type, [batch, k])],
        decoded.initializers() if initializers is None else initializers,
    )
    functions = decoded.functions()
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", decoded.opset),
            *([helper.make_opsetid(DOMAIN, 1)] if functions else []),
        ],
        functions=functions,
        producer_name="eigenselect",
        producer_version=__version__,
    )
    if initializers is None:
        onnx.checker.check_model(model, full_check=True)
    return model


def runs(opset: int, target: Target) -> bool:
    """Whether this ONNX Runtime loads a model of `opset` for `target`: found out before the work, not after it."""
    planes = [np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8)]
    try:
        model = to_onnx(affine(planes, 3, 1, zero=3.5, scale=1.0), opset=opset, target=target)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX, and ONNX Runtime for each reason, have exception classes of their own
        return False
    return True


def check_runtime(opset: int, target: Target) -> None:
    """Raise a ValueError unless this ONNX Runtime has the operators of `target` at `opset`."""
    if not runs(opset, target):
        raise ValueError(
            f"target = {target} at opset {opset}: ONNX Runtime {ort.__version__} does not run it; cpu needs 1.21 or "
            "later from opset 18 on, portable runs from 1.17.3 on"
        )


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` to `path`."""
    onnx.save_model(model, path)


def load(path: Path, *, data: bool = True) -> onnx.ModelProto:
    """The model of a file that `save` or `write` wrote; without `data` its data file, if there is one, is not read."""
    return onnx.load_model(path, load_external_data=data)
