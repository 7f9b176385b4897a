"""GatherND on the first axis, which is what torch's exporter makes of `table[ids]`."""

from __future__ import annotations

import onnx

from eigenselect.export.models.constants.constant import integers
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.lookups.lookup import Lookup, is_last
from eigenselect.export.models.scopes import Scope, attribute, is_standard


def gather_nd(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> Lookup | None:
    """A GatherND whose indices are the ids with one more axis, behind all others."""
    data, batch = tracer.trace(scope, node.input[0]), attribute(node, "batch_dims")
    made = scope.maker(node.input[1])
    if data is None or len(data.shape) not in (1, 2) or (batch is not None and batch.i):
        return None
    if made is None or not is_standard(made, "Unsqueeze") or len(made.input) != 2:
        return None
    axes = tracer.trace(scope, made.input[1])
    if axes is None or not is_last(scope, made.input[0], integers(axes)):
        return None
    names = (node.input[1], made.input[1])
    return Lookup(made.input[0], data, tuple((owner, name) for name in names if (owner := scope.owner(name))))
