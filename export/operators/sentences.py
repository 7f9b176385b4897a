"""A payload as an ONNX model of sentences: ids of tokens in, one vector a sentence out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import OPSET, Target
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.graph import Graph, Node
from eigenselect.export.operators.model import model_of

SHORTEST = 1e-30
"""Length below which a sum is taken for zero: that of a sentence without tokens stays so."""


def sentences_to_onnx(payload: Payload, *, opset: int = OPSET, target: Target = "portable") -> onnx.ModelProto:
    """The model `ids (tokens,), offsets (sentences,) int64 -> vectors (sentences, k) float32`, of length 1.

    A vector is the mean of the rows of a sentence's ids, divided by its length. Sentences follow each other in `ids`;
    `offsets` says where each begins, as for `torch.nn.EmbeddingBag`. Rows are summed before a matrix is applied to
    them: once a sentence, not once a token.

    Args:
        payload: of one row for each id of the tokenizer.
        opset: of the model.
        target: which operators are used, where there is a choice.

    Example:
        >>> import onnxruntime as ort
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> model = sentences_to_onnx(Dense(np.array([[3, 4], [0, 2]], np.float32)))
        >>> session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        >>> session.run(None, {"ids": np.array([0, 1, 1]), "offsets": np.array([0, 1])})
        [array([[0.6, 0.8],
               [0. , 1. ]], dtype=float32)]
    """
    summed = decode_graph(payload, "ids", bags="offsets", opset=opset, target=target)
    return model_of(_unit(summed), {"ids": "tokens", "offsets": "sentences"}, "sentences", payload.k, "float32")


def _unit(graph: Graph) -> Graph:
    """The vectors that a graph gives, each divided by its length."""
    sums = graph.nodes[-1].output
    steps = (
        Node("Mul", (sums, sums), "%squares"),
        Node("ReduceSum", ("%squares", "last_axis"), "%power", attributes={"keepdims": 1}),
        Node("Sqrt", ("%power",), "%length"),
        Node("Max", ("%length", "shortest"), "%divisor"),
        Node("Div", (sums, "%divisor"), "%unit"),
    )
    arrays = {**graph.arrays, "last_axis": np.array([-1]), "shortest": np.array([SHORTEST], np.float32)}
    return replace(graph, nodes=(*graph.nodes, *steps), arrays=arrays)
