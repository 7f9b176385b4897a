"""Gather by rows, of (n, d) or of that with axes of one entry."""

from __future__ import annotations

import onnx
from onnx import helper

from eigenselect.export.models.constants.constant import Constant
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.constants.views import reshaped
from eigenselect.export.models.lookups.lookup import Around, Lookup
from eigenselect.export.models.scopes import Scope, attribute


def gather(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> Lookup | None:
    """A Gather along the only axis, before the last one, that has more than one entry."""
    data, axis = tracer.trace(scope, node.input[0]), attribute(node, "axis")
    if data is None or not data.shape:
        return None
    ndim = len(data.shape)
    at = 0 if axis is None else axis.i + ndim * (axis.i < 0)
    ids = str(node.input[1])
    if ndim <= 2:
        return Lookup(ids, data) if at == 0 else None
    ones = [number for number in range(ndim - 1) if number != at]
    if at not in range(ndim - 1) or any(data.shape[number] != 1 for number in ones):
        return None
    table = reshaped(data, (data.shape[at], data.shape[-1]))
    return None if table is None else Lookup(ids, table, (), _widened(node, ones, at, data))


def _widened(node: onnx.NodeProto, ones: list[int], at: int, data: Constant) -> Around:
    axes = [number if number < at else number - len(data.shape) for number in ones]

    def around(prefix: str, ids: str, rows: str) -> list[onnx.NodeProto]:
        named = f"{prefix}axes"
        return [
            helper.make_node("Constant", [], [named], name=named, value_ints=axes),
            helper.make_node("Unsqueeze", [rows, named], list(node.output), name=node.name or f"{prefix}rows"),
        ]

    return around
