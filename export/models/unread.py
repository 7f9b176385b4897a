"""Nodes that take ids to a large constant in a way that is not followed: named, each with what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from eigenselect.export.models.lookups import CODES, FLOATS
from eigenselect.export.models.scopes import Model, Scope, attribute, is_standard
from eigenselect.export.models.tables import SAME_IDS, HostTable, graph_input

MOST_NAMED = 5

INTEGERS = (TensorProto.INT32, TensorProto.INT64)

NARROW = (*CODES, TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2)
"""Types of stored entries that are scaled."""

OF_TABLES = (
    *("Identity", "Cast", "Transpose", "Mul", "Add", "Sub", "Div", "DequantizeLinear"),
    *("Squeeze", "Unsqueeze", "Reshape", "Flatten", "Concat", "Slice", "Constant"),
)
"""Operators that make one table of another."""

QUANTIZED = "give the float model that it was made of"

CURES = {
    "EmbedLayerNormalization": "export without the fusion of embeddings and normalization",
    "GatherBlockQuantized": QUANTIZED,
    "GatherND": "look rows up by one Gather, or a GatherND whose indices are ids.unsqueeze(-1)",
}
"""What to do, by operator."""


def not_followed(model: Model, tables: Sequence[HostTable]) -> str:
    """The nodes that take ids to a constant, other than the lookups of `tables`, in words; empty where none does."""
    read = {(id(place.scope), place.gather.output[0]) for table in tables for place in table.places}
    found: list[tuple[int, str]] = []
    for scope in model.scopes:
        for node in scope.graph.node:
            behind = _largest(scope, node) if (id(scope), node.output[0]) not in read else None
            if behind is not None and any(_are_ids(model, scope, name) for name in node.input):
                found.append((-math.prod(behind.dims), _in_words(node, behind)))
    if not found:
        return ""
    named = [words for _, words in sorted(found, key=lambda each: each[0])][:MOST_NAMED]
    more = [f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return f"; not followed are {'; '.join([*named, *more])}"


def _in_words(node: onnx.NodeProto, tensor: onnx.TensorProto) -> str:
    stored = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
    shape = " x ".join(map(str, tensor.dims))
    cure = CURES.get(node.op_type) or (
        QUANTIZED if tensor.data_type in NARROW else "let one Gather look rows up in one stored n x d tensor"
    )
    name = node.name or node.output[0]
    domain = node.domain or "ai.onnx"
    return f"{node.op_type} {name!r} of {domain}, which takes ids to {tensor.name!r} {shape} {stored}: {cure}"


def _largest(scope: Scope, node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The largest stored tensor behind an input of `node` that may be a table; None if there is none."""
    tensors = [tensor for name in node.input for tensor in _behind(scope, name) or []]
    tall = [tensor for tensor in tensors if _may_be_table(node, tensor)]
    return max(tall, key=lambda tensor: math.prod(tensor.dims), default=None)


def _may_be_table(node: onnx.NodeProto, tensor: onnx.TensorProto) -> bool:
    """Weights that a mask, which looks like ids, goes to as well are wider than high."""
    if tensor.data_type not in (*FLOATS, *NARROW) or len(tensor.dims) < 2:
        return False
    return bool(tensor.dims[-2] >= tensor.dims[-1] or is_standard(node, "Gather", "GatherND"))


def _behind(scope: Scope, name: str) -> list[onnx.TensorProto] | None:
    """The stored tensors that a value is made of; None if it is made of anything else too."""
    owner = scope.owner(name) if name else None
    if owner is None:
        return None
    if name in owner.stored:
        return [owner.stored[name]]
    node = owner.made.get(name)
    if node is None or not is_standard(node, *OF_TABLES):
        return None
    if node.op_type == "Constant":
        given = attribute(node, "value")
        return [] if given is None else [given.t]
    found: list[onnx.TensorProto] = []
    for source in node.input:
        part = _behind(owner, source) if source else []
        if part is None:
            return None
        found.extend(part)
    return found


def _are_ids(model: Model, scope: Scope, name: str) -> bool:
    """Whether a value is taken from an integer input of the model and is still integer."""
    source = graph_input(scope, name) if name else None
    given = {value.name: value.type.tensor_type.elem_type for value in model.main.graph.input}
    return source is not None and given.get(source) in INTEGERS and not _is_cast_away(scope, name)


def _is_cast_away(scope: Scope, name: str) -> bool:
    owner = scope.owner(name)
    node = None if owner is None else owner.made.get(name)
    if owner is None or node is None or not is_standard(node, *SAME_IDS):
        return False
    if node.op_type == "Cast" and helper.get_attribute_value(attribute(node, "to")) not in INTEGERS:
        return True
    return _is_cast_away(owner, node.input[0])
