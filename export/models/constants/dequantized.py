"""Codes times scales: DequantizeLinear with one scale, one for each entry of an axis, or one for each block of it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from eigenselect.export.models.constants.constant import FLOATS, Array, Constant, Rows, taken
from eigenselect.export.models.constants.views import Inputs
from eigenselect.export.models.scopes import attribute
from eigenselect.export.models.stored import FLOAT8


def dequantize_linear(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """(x − zero) · scale."""
    x, scale, zero = (*inputs, None)[:3]
    axis, block, to = (attribute(node, name) for name in ("axis", "block_size", "output_dtype"))
    if x is None or scale is None:
        return None
    at = (1 if axis is None else axis.i) % max(1, len(x.shape)) - len(x.shape)
    return scaled(x, scale, zero, at, 0 if block is None else block.i, to.i if to is not None and to.i else scale.type)


def scaled(x: Constant, scale: Constant, zero: Constant | None, axis: int, block: int, type: int) -> Constant | None:
    """(x − zero) · scale; the two are laid along `axis`, negative, each for a `block` there unless that is 0."""
    factor, offset = laid(scale, x.shape, axis, block), None if zero is None else laid(zero, x.shape, axis, block)
    if factor is None or (zero is not None and offset is None) or not {scale.type, type} <= {*FLOATS}:
        return None
    work = np.float32 if x.type in FLOAT8 else np.int32
    dtype = helper.tensor_dtype_to_np_dtype(type)

    def take(rows: Rows, along: int) -> Array:
        codes = x.take(rows, along).astype(work)
        if offset is not None:
            codes = codes - offset.take(rows, along).astype(work)
        found: Array = (codes * factor.take(rows, along)).astype(dtype)
        return found

    return x.like(x.shape, take, type)


def laid(scale: Constant, shape: tuple[int, ...], axis: int, block: int) -> Constant | None:
    """Scales that can be broadcast to entries of that shape; None if their own does not fit it."""
    if scale.shape == () or (scale.is_one and not block):
        return scale
    if not shape:
        return None
    size = shape[axis]
    if not block:
        if scale.shape != (size,):
            return None
        sizes = [1] * len(shape)
        sizes[axis] = size

        def line(rows: Rows, along: int) -> Array:
            taken = scale.take(rows, -1) if along == axis else scale.whole()
            return taken.reshape([-1 if at == axis % len(shape) else 1 for at in range(len(shape))])

        return scale.like(tuple(sizes), line)
    expected = list(shape)
    expected[axis] = -(-size // block)
    if block < 0 or scale.shape != tuple(expected):
        return None

    def blocks(rows: Rows, along: int) -> Array:
        if along == axis:
            return scale.take(np.arange(size)[rows] // block, along)
        whole = np.repeat(scale.take(rows, along), block, axis)
        return taken(whole, slice(size), axis)

    return scale.like(shape, blocks)
