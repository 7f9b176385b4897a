"""Where ids come from."""

from __future__ import annotations

from onnx import TensorProto, helper

from eigenselect.export.models.scopes import Name, Scope, attribute, is_standard
from eigenselect.export.models.walks import evaluated

SAME_IDS = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand", "Clip")
"""Operators whose values are those of their first input."""

INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def graph_input(scope: Scope, name: str) -> str | None:
    """The input of the model that the values of `name` are taken from, unchanged; None where they are computed."""
    owner = scope.owner(name) if name else None
    return None if owner is None else evaluated((owner, name), _sources, _input, owner.memory["input"])


def are_ids(scope: Scope, name: str) -> bool:
    """Whether a value is taken from an integer input of the model and was integer all the way."""
    source, owner = graph_input(scope, name), scope.owner(name) if name else None
    if source is None or owner is None or evaluated((owner, name), _sources, _is_cast_away, owner.memory["away"]):
        return False
    while owner.outer is not None:
        owner = owner.outer
    types = owner.memory["types"]
    if not types:
        types.update({value.name: value.type.tensor_type.elem_type for value in owner.graph.input})
    return types.get(source) in INTEGERS


def _sources(at: Name) -> list[Name]:
    """The values that those of a name may be, in the order of preference."""
    owner, name = at
    if name in owner.stored:
        return []
    node = owner.made.get(name)
    if node is None:
        outside = None if owner.outer is None else _outside(owner, name)
        return [] if outside is None else [outside]
    if is_standard(node, *SAME_IDS):
        names = list(node.input[:1])
    elif is_standard(node, "Concat", "Where"):
        names = list(node.input[int(node.op_type == "Where") :])
    else:
        return []
    return [(source, of) for of in names if of and (source := owner.owner(of)) is not None]


def _input(at: Name) -> str | None:
    owner, name = at
    if owner.outer is None and name in owner.inputs and name not in owner.stored and name not in owner.made:
        return name
    found = owner.memory["input"]
    return next((source for of in _sources(at) if (source := found.get(of)) is not None), None)


def _is_cast_away(at: Name) -> bool:
    owner, name = at
    node = owner.made.get(name)
    if node is not None and is_standard(node, "Cast"):
        to = attribute(node, "to")
        if to is not None and helper.get_attribute_value(to) not in INTEGERS:
            return True
    return any(owner.memory["away"].get(of) for of in _sources(at)[:1])


def _outside(scope: Scope, name: str) -> Name | None:
    """What the input `name` of a body of Loop or Scan is given by the node around it."""
    holder, at = scope.holder, scope.inputs.index(name) if name in scope.inputs else -1
    if holder is None or scope.outer is None or not is_standard(holder, "Loop", "Scan"):
        return None
    if not 0 <= at < len(holder.input) or not holder.input[at]:
        return None
    owner = scope.outer.owner(holder.input[at])
    return None if owner is None else (owner, holder.input[at])
