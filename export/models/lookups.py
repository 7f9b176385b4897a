"""One lookup of rows: which node it is, by which ids, and the float rows that are made of what it gives.

A lookup is a Gather by rows, or a GatherND on the first axis, which is what torch's exporter makes of `table[ids]`. Its
rows are float, or integers that a DequantizeLinear with one scale, or a Cast and a Mul, make float. The Mul may be by
one scale, or by scales that the same ids look up apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto

from eigenselect.export.models.folding import Constant, Tracer, product, same_entries
from eigenselect.export.models.scopes import Model, Name, Scope, attribute, is_standard

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
CODES = (TensorProto.INT8, TensorProto.UINT8)

Found = tuple[str, tuple[Name, ...], Constant]
"""Name of float rows, the values between the lookup and them, the last one first, and what they are rows of."""


@dataclass(frozen=True, eq=False)
class Place:
    """One lookup of a table.

    Attributes:
        scope: the graph that it is in.
        gather: the Gather or GatherND.
        ids: name of the ids, int32 or int64 of any shape.
        rows: name of the float rows.
        steps: values that only serve to come from the ids to the rows, what is made of others first.
    """

    scope: Scope
    gather: onnx.NodeProto
    ids: str
    rows: str
    steps: tuple[Name, ...]


def places(model: Model, tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> list[tuple[Place, Constant]]:
    """The lookups that `node` is, each with the table that it is one of."""
    ids = ids_of(tracer, scope, node)
    value = None if ids is None else tracer.trace(scope, node.input[0])
    if ids is None or value is None or len(value.shape) != 2:
        return []
    before = _before(scope, node)
    return [
        (Place(scope, node, ids, rows, (*steps, *before)), table)
        for rows, steps, table in _rows(model, tracer, scope, node, value)
    ]


def ids_of(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> str | None:
    """Name of the ids by which `node` looks rows of its first input up, if that has two axes; None if it does not."""
    axis, batch = attribute(node, "axis"), attribute(node, "batch_dims")
    if is_standard(node, "Gather") and (axis is None or axis.i in (0, -2)):
        return str(node.input[1])
    if is_standard(node, "GatherND") and (batch is None or batch.i == 0):
        made = _maker(scope, node.input[1])
        if made is not None and is_standard(made, "Unsqueeze") and len(made.input) == 2:
            axes = tracer.trace(scope, made.input[1])
            if axes is not None and axes.take(slice(None), 1).ravel().tolist() == [-1]:
                return str(made.input[0])
    return None


def _maker(scope: Scope, name: str) -> onnx.NodeProto | None:
    owner = scope.owner(name)
    return None if owner is None else owner.made.get(name)


def _before(scope: Scope, node: onnx.NodeProto) -> tuple[Name, ...]:
    """Values that only serve to make the indices of a GatherND of the ids."""
    made = _maker(scope, node.input[1]) if node.op_type == "GatherND" else None
    names = () if made is None else (node.input[1], made.input[1])
    return tuple((owner, name) for name in names if (owner := scope.owner(name)) is not None)


def _rows(model: Model, tracer: Tracer, scope: Scope, node: onnx.NodeProto, value: Constant) -> list[Found]:
    """The float rows that a lookup leads to."""
    name = node.output[0]
    if value.type in FLOATS:
        return [] if _are_scales(model, tracer, scope, name) else [(name, (), value)]
    if value.type not in CODES:
        return []
    found: list[Found] = []
    for user, next_ in model.uses[scope, name]:
        if user is not scope or next_ is None:
            return []
        if is_standard(next_, "DequantizeLinear") and next_.input[0] == name:
            table = tracer.dequantized(scope, next_, value)
            # One scale for all: along an axis of the rows it would have another meaning than along one of the table.
            if table is not None and table.one_scale:
                found.append((next_.output[0], ((scope, name),), table))
        elif made := _multiplied(model, tracer, scope, node, next_, value):
            found.extend(made)
        else:
            return []
    return found


def _multiplied(
    model: Model, tracer: Tracer, scope: Scope, node: onnx.NodeProto, cast: onnx.NodeProto, value: Constant
) -> list[Found]:
    """The rows where those of `node` are cast and multiplied; none where anything else is done with them."""
    codes = same_entries(cast, value) if is_standard(cast, "Cast") else None
    if codes is None or codes.type not in FLOATS:
        return []
    ids, wide, found = ids_of(tracer, scope, node), cast.output[0], []
    for user, mul in model.uses[scope, wide]:
        if user is not scope or mul is None or not is_standard(mul, "Mul"):
            return []
        by = mul.input[int(mul.input[0] == wide)]
        lookup = scope.made.get(by)
        apart = lookup is not None and ids_of(tracer, scope, lookup) == ids
        scale = tracer.trace(scope, lookup.input[0] if lookup is not None and apart else by)
        if scale is None or scale.shape not in ([(value.shape[0], 1)] if apart else [(), (1,)]):
            return []
        table = product(codes, scale)
        if table is None:
            return []
        between = (wide, node.output[0], *([by] if apart else []))
        found.append((mul.output[0], tuple((scope, name) for name in between), table))
    return found


def _are_scales(model: Model, tracer: Tracer, scope: Scope, name: str) -> bool:
    """Whether float rows are what integer rows are multiplied by, and so no rows of a table of their own."""
    for user, node in model.uses[scope, name]:
        if node is None:
            continue
        if is_standard(node, "Mul") and any(_are_codes(tracer, user, by) for by in node.input if by != name):
            return True
        if is_standard(node, "Cast", "Unsqueeze", "Reshape") and _are_scales(model, tracer, user, node.output[0]):
            return True
    return False


def _are_codes(tracer: Tracer, scope: Scope, name: str) -> bool:
    """Whether a value is made of integer rows that are looked up."""
    node = scope.made.get(name)
    if node is None:
        return False
    if is_standard(node, "Cast", "Sub", "Reshape"):
        return _are_codes(tracer, scope, node.input[0])
    value = tracer.trace(scope, node.input[0]) if ids_of(tracer, scope, node) is not None else None
    return value is not None and value.type in CODES
