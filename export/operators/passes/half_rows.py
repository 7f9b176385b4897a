"""The decoded rows as float16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from eigenselect.export.operators.graph import Graph, Node


def half_rows(graph: Graph) -> Graph:
    """The decoded rows as float16, for whoever asks for them and a host whose table is.

    1. A `DequantizeGather` and a `Gather` give their table's type: where one is the last node, and alone uses a table
       that is stored, the table is stored as float16.
    2. The rows of any other graph are rounded.
    """
    last = graph.nodes[-1]
    at = {"Gather": 0, "DequantizeGather": 1}.get(last.op)
    if at is not None and (table := last.inputs[at]) in graph.arrays and graph.uses(table) == 1:
        return replace(graph, arrays={**graph.arrays, table: graph.arrays[table].astype(np.float16)})
    rounded = Node(
        "Cast", (last.output,), f"{last.output}.half", graph.prefix, attributes={"to": onnx.TensorProto.FLOAT16}
    )
    return replace(graph, nodes=(*graph.nodes, rounded))
