"""Rows and the numbers that they are multiplied by become one operator."""

from __future__ import annotations

import numpy as np
import onnx

from eigenselect.export.operators.functions import DOMAIN, SCALED, SCALED_BY_CODES
from eigenselect.export.operators.graph import Graph, Node


def scaled_rows(graph: Graph) -> Graph:
    """Rows and the numbers that they are multiplied by become one operator, which a native kernel makes in one go.

    1. A `Mul` multiplies the rows of an operator of ours by a column of numbers of the same ids, and nothing else uses
       either.
    2. The column is a float16 table's, widened, or what one byte of a row picks by a `DequantizeGather`.
    3. All become one operator, named by that of the rows. It stands for all of them in the numbering.
    """
    for node in graph.nodes:
        if node.op == "Mul":
            graph = _joined(graph, node)
    return graph


def _joined(graph: Graph, product: Node) -> Graph:
    """The graph with one node for `product` and what it multiplies, where that is so."""
    made = {node.output: node for node in graph.nodes}
    rows, column = (made.get(name) for name in product.inputs)
    if (
        rows is None
        or column is None
        or rows.domain != DOMAIN
        or graph.uses(rows.output) + graph.uses(column.output) != 2
    ):
        return graph
    parts = _codes(graph, column) if column.op == "DequantizeGather" else _numbers(graph, column, made)
    if parts is None:
        return graph
    end, scales, gone = parts
    *inputs, ids = rows.inputs
    if gone[0].inputs[-1] != ids:
        return graph
    return graph.joined(f"{rows.op}{end}", (*inputs, *scales, ids), rows, *gone, product)


Parts = tuple[str, tuple[str, ...], list[Node]]
"""End of the operator's name, what is stored of the column, and the nodes that make it, the one with the ids first."""


def _codes(graph: Graph, column: Node) -> Parts | None:
    *stored, _ = column.inputs
    packed, lut = (graph.arrays[name] for name in stored)
    return (SCALED_BY_CODES, tuple(stored), [column]) if packed.shape[1] == lut.shape[1] == 1 else None


def _numbers(graph: Graph, column: Node, made: dict[str, Node]) -> Parts | None:
    picked = (
        made.get(column.inputs[0])
        if column.op == "Cast" and column.attributes["to"] == onnx.TensorProto.FLOAT
        else None
    )
    table = graph.arrays.get(picked.inputs[0]) if picked is not None and picked.op == "Gather" else None
    if picked is None or table is None or table.dtype != np.float16 or table.shape[1:] != (1,):
        return None
    return (SCALED, picked.inputs[:1], [picked, column]) if graph.uses(picked.output) == 1 else None
