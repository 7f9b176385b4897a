"""Graphs of a decode, made and run as they are: with any passes, and ids of any rank and type."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from eigenselect.compressors import Payload
from eigenselect.export.choices import Target
from eigenselect.export.operators.builder import OnnxOps
from eigenselect.export.operators.functions import DOMAIN
from eigenselect.export.operators.graph import Graph


def plain(payload: Payload, *, opset: int = 18, target: Target = "cpu") -> Graph:
    """The graph before any pass."""
    ops = OnnxOps("some.")
    payload.decode("ids", ops)
    return Graph(tuple(ops.nodes), ops.arrays, "some.", opset, target)


def model_of(graph: Graph, k: int, ids: np.ndarray, *, half: bool = False) -> onnx.ModelProto:
    """A model with ids like those, which `to_onnx` does not make and a rewritten host may have."""
    shape = [f"n{i}" for i in range(ids.ndim)]
    nodes = graph.named()
    (rows,) = nodes[-1].output
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", helper.np_dtype_to_tensor_dtype(ids.dtype), shape)],
        [helper.make_tensor_value_info(rows, TensorProto.FLOAT16 if half else TensorProto.FLOAT, [*shape, k])],
        graph.initializers(),
    )
    imports = [helper.make_opsetid("", graph.opset), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(made, ir_version=8, opset_imports=imports, functions=graph.functions())
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, ids: np.ndarray) -> np.ndarray:
    """The rows of the ids."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows: np.ndarray = session.run(None, {"ids": ids})[0]
    return rows


def names(graph: Graph) -> list[str]:
    """The names of the nodes in a model."""
    return [node.name for node in graph.named()]
