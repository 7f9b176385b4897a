"""Some columns of trellis codes become one operator."""

from __future__ import annotations

from eigenselect.export.operators.graph import Graph, Node
from eigenselect.export.operators.trellis import COLUMNS, trellis_windows


def trellis_columns(graph: Graph) -> Graph:
    """Some columns of trellis codes become one operator, whose native kernel decodes no others.

    1. A `GatherElements` takes stored columns of the rows of an operator for trellis codes of one plane, which nothing
       uses but that and the `Shape` that its indices are made from.
    2. It and all that makes its indices become one operator. It stands for all of them in the numbering.
    """
    for node in graph.nodes:
        if node.op == "GatherElements":
            graph = _joined(graph, node)
    return graph


def _joined(graph: Graph, picked: Node) -> Graph:
    made = {node.output: node for node in graph.nodes}
    rows, chain = made.get(picked.inputs[0]), [picked]
    for op in ("Expand", "Concat", "Slice", "Shape"):  # each takes the one after it: `OnnxOps.columns` writes them so
        inputs = [made[name] for name in chain[-1].inputs if name in made and made[name].op == op]
        if len(inputs) != 1 or graph.uses(inputs[0].output) != 1:
            return graph
        chain += inputs
    windows = None if rows is None else trellis_windows(rows.op)
    places = chain[1].inputs[0]
    if rows is None or windows is None or len(rows.inputs) != 3 or places not in graph.arrays:
        return graph
    if chain[-1].inputs != (rows.output,) or graph.uses(rows.output) != 2:
        return graph
    *stored, ids = rows.inputs
    name = f"{rows.op}{COLUMNS}"
    return graph.joined(name, (*stored, places, ids), rows, *chain[1:], picked).without_unused()
