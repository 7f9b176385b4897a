"""Functions of a model that look rows up: what a call does stands in its place, where tables are found and replaced."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import inliner

from eigenselect.export.models.constants import tracer
from eigenselect.export.models.lookups import places
from eigenselect.export.models.scopes import STANDARD
from eigenselect.export.operators.functions import DOMAIN


def with_lookups_inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without those of its functions that look rows of a stored or a given tensor up; else as it is.

    Raises:
        ValueError: the functions cannot be put in place of their calls.
    """
    bodies = {(function.domain, function.name): list(_nodes(function.node)) for function in model.functions}
    inlined = [key for key, nodes in bodies.items() if key[0] != DOMAIN and _looks_up(nodes)]
    callers: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for key, nodes in bodies.items():
        for node in nodes:
            callers.setdefault((node.domain, node.op_type), set()).add(key)
    for key in inlined:  # grows while it is read: what calls one is a lookup too
        inlined.extend(caller for caller in callers.get(key, ()) if caller not in inlined)
    if not inlined:
        return model
    try:
        return inliner.inline_selected_functions(model, inlined)
    except Exception as error:  # its C++ raises several kinds
        names = ", ".join(repr(name) for _, name in inlined[:3])
        raise ValueError(f"functions that look rows up cannot be inlined ({names}): export without them") from error


def _nodes(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Those of a body and of all graphs inside of it."""
    waiting = [nodes]
    while waiting:
        for node in waiting.pop():
            yield node
            for attribute in node.attribute:
                graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
                waiting.extend(graph.node for graph in graphs)


def _looks_up(nodes: list[onnx.NodeProto]) -> bool:
    """Whether one is a lookup in what can be a table: not in a shape, say."""
    made = {name: node for node in nodes for name in node.output}
    for node in nodes:
        domains, _ = places.FORMS.get(node.op_type, ((), None))
        if node.domain in domains:
            maker = made.get(node.input[0])
            if maker is None or (maker.domain in STANDARD and maker.op_type in (*tracer.FORMS, "Constant")):
                return True
    return False
