"""A payload's decode as the graph that is shipped."""

from __future__ import annotations

from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import OPSET, Target
from eigenselect.export.operators.builder import OnnxOps
from eigenselect.export.operators.graph import Graph
from eigenselect.export.operators.passes import (
    joined_planes,
    linear_codes,
    scaled_rows,
    trellis_columns,
    trellis_planes,
)


def decode_graph(
    payload: Payload,
    ids: str,
    prefix: str = "",
    *,
    bags: str | None = None,
    opset: int = OPSET,
    target: Target = "portable",
) -> Graph:
    """The graph that decodes the rows `ids`, int32 or int64 of any shape, to (*ids.shape, k) float32.

    With `bags` it sums the rows of each bag, to (len(bags), k) float32.

    Args:
        payload: a payload.
        ids: name of the ids.
        prefix: of every other name.
        bags: name of the places in `ids`, then (t,), where bags begin, (b,) int64; see `Payload.read_sums`.
        opset: of the model, from `OLDEST_OPSET` on.
        target: which operators are used, where there is a choice.

    Raises:
        ValueError: the decode does not end in the verb that gives what it returns.
    """
    ops = OnnxOps(prefix)
    rows = payload.decode(ids, ops) if bags is None else payload.pooled(ids, ops, lambda a: ops.sum_bags(a, bags))
    if not ops.nodes or ops.nodes[-1].output != rows:
        raise ValueError(f"{payload.tag}.decode does not return what its last verb gives: call no verb after that one")
    graph = Graph(tuple(ops.nodes), ops.arrays, prefix, opset, target)
    for rewrite in (linear_codes, joined_planes, trellis_planes, trellis_columns, scaled_rows):
        graph = rewrite(graph)
    return graph
