"""The same entries in another type or shape: Identity, Cast, Transpose, Squeeze, Unsqueeze, Reshape, Flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import onnx
from onnx import helper

from eigenselect.export.models.constants.constant import (
    FLOATS,
    MOST_AXES,
    READ,
    Array,
    Constant,
    Rows,
    integers,
    taken,
)
from eigenselect.export.models.scopes import attribute
from eigenselect.export.models.stored import PAIRED

Inputs = Sequence[Constant | None]
"""Those of a node, in order; None for one that is left out."""


def identity(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """The first input."""
    return inputs[0]


def cast(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """Another type."""
    x, to = inputs[0], attribute(node, "to")
    if x is None or to is None or to.i not in READ or to.i in PAIRED:
        return None
    if to.i not in FLOATS and x.type in FLOATS:  # which values these become depends on the machine
        return None
    dtype = helper.tensor_dtype_to_np_dtype(to.i)
    return x.like(x.shape, lambda rows, axis: x.take(rows, axis).astype(dtype), to.i)


def transpose(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """Other axes."""
    x, perm = inputs[0], attribute(node, "perm")
    if x is None:
        return None
    ndim = len(x.shape)
    order = list(reversed(range(ndim))) if perm is None else [int(axis) for axis in perm.ints]
    if sorted(order) != list(range(ndim)):
        return None

    def take(rows: Rows, axis: int) -> Array:
        return x.take(rows, order[axis] - ndim if -axis <= ndim else axis).transpose(order)

    return x.like(tuple(x.shape[axis] for axis in order), take)


def squeeze(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """Without axes of one entry."""
    x, axes = inputs[0], _axes(node, inputs)
    if x is None or axes is None:
        return None
    ndim = len(x.shape)
    gone = {axis % ndim for axis in axes if -ndim <= axis < ndim} or {i for i in range(ndim) if x.shape[i] == 1}
    if any(x.shape[axis] != 1 for axis in gone):
        return None
    return reshaped(x, tuple(size for axis, size in enumerate(x.shape) if axis not in gone))


def unsqueeze(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """With more axes of one entry."""
    x, axes = inputs[0], _axes(node, inputs)
    if x is None or not axes:
        return None
    ndim = len(x.shape) + len(axes)
    new = {axis % ndim for axis in axes if -ndim <= axis < ndim}
    if len(new) != len(axes):
        return None
    sizes = iter(x.shape)
    return reshaped(x, tuple(1 if axis in new else next(sizes) for axis in range(ndim)))


def reshape(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """The shape that the second input has."""
    x, given, zero = inputs[0], inputs[1], attribute(node, "allowzero")
    sizes = None if given is None else integers(given)
    if x is None or sizes is None or (zero is not None and zero.i):
        return None
    if any(size == 0 and axis >= len(x.shape) for axis, size in enumerate(sizes)):
        return None
    shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        shape[shape.index(-1)] = math.prod(x.shape) // rest if rest > 0 else 0
    return reshaped(x, tuple(shape))


def flatten(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """Two axes."""
    x, axis = inputs[0], attribute(node, "axis")
    if x is None:
        return None
    at = 1 if axis is None else axis.i
    if not -len(x.shape) <= at <= len(x.shape):
        return None
    at += len(x.shape) * (at < 0)
    return reshaped(x, (math.prod(x.shape[:at]), math.prod(x.shape[at:])))


def _axes(node: onnx.NodeProto, inputs: Inputs) -> list[int] | None:
    """An input since opset 13, an attribute before it."""
    given = attribute(node, "axes")
    if given is not None:
        return [int(axis) for axis in given.ints]
    if len(inputs) < 2 or inputs[1] is None:
        return []
    return integers(inputs[1])


def reshaped(x: Constant, shape: tuple[int, ...]) -> Constant | None:
    """Entries in the same order."""
    if min(shape, default=1) < 1 or math.prod(shape) != math.prod(x.shape) or len(shape) > MOST_AXES:
        return None
    whole = cache(lambda: x.whole().reshape(shape))

    def take(rows: Rows, axis: int) -> Array:
        if -axis > len(shape) or shape[axis] == 1:
            return whole()
        after = math.prod(shape[len(shape) + axis + 1 :])
        for at in range(-len(x.shape), 0):  # an axis that stays one, whatever becomes of those around it
            if x.shape[at] == shape[axis] and math.prod(x.shape[len(x.shape) + at + 1 :]) == after:
                sizes = list(shape)
                sizes[axis] = -1
                return x.take(rows, at).reshape(sizes)
        return taken(whole(), rows, axis)

    return x.like(shape, take)
