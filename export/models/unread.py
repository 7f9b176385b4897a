"""Nodes that take ids to a large constant in a way that is not followed: named, each with what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from eigenselect.compressors.words import listed, quoted
from eigenselect.export.models.constants.constant import CODES, FLOATS
from eigenselect.export.models.constants.tracer import FORMS
from eigenselect.export.models.ids import are_ids
from eigenselect.export.models.scopes import Model, Name, Scope, attribute, is_standard
from eigenselect.export.models.stored import type_name
from eigenselect.export.models.tables import HostTable
from eigenselect.export.models.walks import evaluated

LENGTH = 150
"""Characters of the nodes that a message names, beyond the first one."""

QUANTIZED = "give the float model that it was made of"

CURES = {
    "GatherBlockQuantized": QUANTIZED,
    "GatherND": "give it ids.unsqueeze(-1) as its indices",
}
"""What to do, by operator."""

Behind = tuple[onnx.TensorProto | None, onnx.TensorProto | None]
"""The largest stored tensor that a value is made of, and the largest that is no wider than high."""


def not_followed(model: Model, tables: Sequence[HostTable]) -> str:
    """The nodes that take ids to a constant, other than the lookups of `tables`, in words; empty where none does."""
    inside = (name for table in tables for place in table.places for name in (*place.steps, (place.scope, place.given)))
    read = {(id(scope), name) for scope, name in inside}
    found: list[tuple[int, str]] = []
    for scope in model.scopes:
        for node in scope.graph.node:
            behind = _largest(scope, node) if (id(scope), node.output[0]) not in read else None
            if behind is not None and any(are_ids(scope, name) for name in node.input):
                found.append((-_entries(behind), _in_words(node, behind)))
    if not found:
        return ""
    return f"; not followed are {listed([words for _, words in sorted(found, key=lambda each: each[0])], LENGTH)}"


def _in_words(node: onnx.NodeProto, tensor: onnx.TensorProto) -> str:
    shape = " x ".join(map(str, tensor.dims))
    cure = CURES.get(node.op_type) or (
        QUANTIZED if tensor.data_type in CODES else "let one Gather look rows up in one n x d tensor"
    )
    return (
        f"{node.op_type} {quoted(node.name or node.output[0])} of {node.domain or 'ai.onnx'} takes ids to "
        f"{quoted(tensor.name)} {shape} {type_name(tensor.data_type)}: {cure}"
    )


def _largest(scope: Scope, node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The largest stored tensor behind an input of `node` that may be a table; None if there is none.

    Weights that a mask, which looks like ids, goes to as well are wider than high.
    """
    found: Behind = (None, None)
    for name in node.input:
        owner = scope.owner(name) if name else None
        if owner is not None:
            found = _larger(found, evaluated((owner, name), _sources, _behind, owner.memory["behind"]))
    return found[0] if is_standard(node, "Gather", "GatherND") else found[1]


def _larger(one: Behind, other: Behind | None) -> Behind:
    first, second = (
        max((tensor for tensor in pair if tensor is not None), key=_entries, default=None)
        for pair in zip(one, other or (None, None), strict=True)
    )
    return first, second


def _entries(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims)


def _sources(at: Name) -> list[Name]:
    return at[0].sources(at[1], *FORMS)


def _behind(at: Name) -> Behind | None:
    """None where a value is made of anything else too."""
    owner, name = at
    if name in owner.stored:
        return _alone(owner.stored[name])
    node = owner.made.get(name)
    if node is not None and is_standard(node, "Constant"):
        given = attribute(node, "value")
        return (None, None) if given is None else _alone(given.t)
    if node is None or not is_standard(node, *FORMS):
        return None
    found: Behind = (None, None)
    for of in filter(None, node.input):
        source = owner.owner(of)
        part = None if source is None else owner.memory["behind"].get((source, of))
        if part is None:
            return None
        found = _larger(found, part)
    return found


def _alone(tensor: onnx.TensorProto) -> Behind:
    if tensor.data_type not in (*FLOATS, *CODES) or len(tensor.dims) < 2:
        return None, None
    return tensor, tensor if tensor.dims[-2] >= tensor.dims[-1] else None
