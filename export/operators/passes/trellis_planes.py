"""Sums of trellis codes become one operator."""

from __future__ import annotations

from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.export.operators.graph import Graph, Node
from eigenselect.export.operators.trellis import trellis_name, trellis_windows


def trellis_planes(graph: Graph) -> Graph:
    """Sums of trellis codes become one operator, which a native kernel makes in one go.

    1. An `Add` adds the rows of two operators for trellis codes of the same ids and columns, and nothing else uses
       either. The first one may be such a sum itself, the second one is of a single plane.
    2. Their windows are of one size, and their bits those of a code that `bitpack` splits so.
    3. The three become one operator of the bits of both: bytes of all planes, then levels of all planes. It stands for
       three nodes in the numbering.
    """
    for node in graph.nodes:
        if node.op == "Add":
            graph = _joined(graph, node)
    return graph


def _joined(graph: Graph, total: Node) -> Graph:
    made = {node.output: node for node in graph.nodes}
    first, second = (made.get(name) for name in total.inputs)
    if first is None or second is None or graph.uses(first.output) + graph.uses(second.output) != 2:
        return graph
    ours, others = trellis_windows(first.op), trellis_windows(second.op)
    if ours is None or others is None or ours.size != others.size:
        return graph
    bits = ours.step + others.step
    (*planes, ids), (*plane, other_ids) = first.inputs, second.inputs
    if (ids, first.attributes) != (other_ids, second.attributes) or len(plane) != 2:
        return graph
    if bits > 8 or plane_widths(bits) != [*plane_widths(ours.step), others.step]:
        return graph
    count = len(planes) // 2
    inputs = (*planes[:count], plane[0], *planes[count:], plane[1], ids)
    return graph.joined(trellis_name(bits, ours.size), inputs, first, second, total)
