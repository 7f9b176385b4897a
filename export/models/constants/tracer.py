"""Finds the constants of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from eigenselect.export.models.constants import dequantized, joined, views
from eigenselect.export.models.constants.arithmetic import arithmetic
from eigenselect.export.models.constants.constant import MOST_AXES, READ, Array, Constant, leaf
from eigenselect.export.models.constants.views import Inputs
from eigenselect.export.models.scopes import Name, Scope, attribute, is_standard
from eigenselect.export.models.stored import array, check
from eigenselect.export.models.walks import evaluated

FORMS: dict[str, Callable[[onnx.NodeProto, Inputs], Constant | None]] = {
    "Identity": views.identity,
    "Cast": views.cast,
    "Transpose": views.transpose,
    "Squeeze": views.squeeze,
    "Unsqueeze": views.unsqueeze,
    "Reshape": views.reshape,
    "Flatten": views.flatten,
    "Concat": joined.concat,
    "Slice": joined.part,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Add": arithmetic,
    "Sub": arithmetic,
    "DequantizeLinear": dequantized.dequantize_linear,
}
"""What each standard operator makes of constants."""

DEEPEST = 100
"""Operators on the way from a stored tensor, other than Identity."""

MOST_PARTS = 2_000
"""Names that a constant is made of."""


class Tracer:
    """Finds constants of a model whose file is in `folder`; each stored tensor is opened once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Name, Constant | None] = {}

    def trace(self, scope: Scope, name: str) -> Constant | None:
        """The constant that `name` stands for in `scope`; None if it is none, or made in a way not followed."""
        owner = scope.owner(name) if name else None
        return None if owner is None else evaluated((owner, name), _sources, self._made, self._known)

    def apply(self, node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
        """What a standard operator makes of constants; None for an operator or inputs that are not followed."""
        found = FORMS[node.op_type](node, inputs) if is_standard(node, *FORMS) else None
        of = [constant for constant in inputs if constant is not None]
        return None if found is None else finished(found, node, of)

    def _made(self, at: Name) -> Constant | None:
        owner, name = at
        if name in owner.stored:
            return self._stored(at, owner.stored[name])
        node = owner.made.get(name)
        if node is None or name != node.output[0]:
            return None
        if is_standard(node, "Constant"):
            return self._constant(at, node)
        inputs = [self._known.get((source, of)) if (source := owner.owner(of)) else None for of in node.input]
        if any(of and found is None for of, found in zip(node.input, inputs, strict=True)):
            return None
        made = self.apply(node, inputs)
        return None if made is None else replace(made, big=(*made.big, at), parts=(*made.parts, at))

    def _stored(self, at: Name, tensor: onnx.TensorProto) -> Constant | None:
        if tensor.data_type not in READ or len(tensor.dims) > MOST_AXES or min(tensor.dims, default=1) < 1:
            return None
        check(tensor, self._folder)
        return leaf(at, tuple(tensor.dims), tensor.data_type, cache(lambda: array(tensor, self._folder)))

    def _constant(self, at: Name, node: onnx.NodeProto) -> Constant | None:
        if (given := attribute(node, "value")) is not None:
            return self._stored(at, given.t)
        for kind, type_ in (("float", TensorProto.FLOAT), ("int", TensorProto.INT64)):
            number = attribute(node, f"value_{kind}") or attribute(node, f"value_{kind}s")
            if number is not None:
                return _given(at, np.array(helper.get_attribute_value(number), helper.tensor_dtype_to_np_dtype(type_)))
        return None


def _given(at: Name, values: Array) -> Constant | None:
    type_ = helper.np_dtype_to_tensor_dtype(values.dtype)
    return leaf(at, values.shape, type_, lambda: values) if values.size else None


def _sources(at: Name) -> list[Name]:
    return at[0].sources(at[1], *FORMS)


def finished(made: Constant, node: onnx.NodeProto, of: Sequence[Constant]) -> Constant | None:
    """What `node` made of constants, with what that is known by; None where it is made of too much."""
    parts = of[0].parts if len(of) == 1 else tuple(name for constant in of for name in constant.parts)
    if is_standard(node, "Identity"):
        return replace(made, parts=parts) if len(parts) < MOST_PARTS else None
    depth = 1 + max(constant.depth for constant in of)
    if depth > DEEPEST or len(parts) >= MOST_PARTS:
        return None
    given = tuple(sorted(attribute.SerializeToString() for attribute in node.attribute))
    key = (node.op_type, given, *(constant.key for constant in of))
    return replace(made, parts=parts, key=key, depth=depth)
