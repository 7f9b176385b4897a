"""Values of a model that its inputs do not change, read by rows and never computed whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from eigenselect.export.models.scopes import Name, Scope, attribute, is_standard
from eigenselect.export.models.stored import array

READ = (
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
    *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.INT64),
)
"""Element types that are followed."""

Rows = slice | npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored tensor, or what Identity, Cast, Transpose, Mul and DequantizeLinear make of such.

    Attributes:
        shape: at most two sizes.
        type: element type, of TensorProto.
        stored_type: element type of the tensor that the entries come from.
        take: (rows, axis) -> its entries at those rows of that axis, always 2-D.
        key: equal for equal expressions.
        big: the names on the way from the stored entries that have as many entries, that of the tensor first.
        parts: all names it is made of: `big`, and scales and zero points.
        one_scale: it is not dequantized, or with one scale for all entries.
    """

    shape: tuple[int, ...]
    type: int
    stored_type: int
    take: Callable[[Rows, int], npt.NDArray[Any]]
    key: Any
    big: tuple[Name, ...]
    parts: tuple[Name, ...]
    one_scale: bool = True


class Tracer:
    """Finds constants of a model whose file is in `folder`; each stored tensor is opened once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[tuple[int, str], Constant] = {}

    def trace(self, scope: Scope, name: str) -> Constant | None:
        """The constant that `name` stands for in `scope`; None if it is none, or made in a way not followed."""
        owner = scope.owner(name)
        if owner is None:
            return None
        if name in owner.stored:
            return self._stored(owner, name, owner.stored[name])
        node = owner.made.get(name)
        if node is None:
            return None
        if is_standard(node, "Constant"):
            return self._constant(owner, node)
        if not is_standard(node, "Identity", "Cast", "Transpose", "Mul", "DequantizeLinear"):
            return None
        x = self.trace(owner, node.input[0])
        if x is None:
            return None
        if node.op_type == "Mul":
            made = product(x, self.trace(owner, node.input[1]))
        elif node.op_type == "DequantizeLinear":
            made = self.dequantized(owner, node, x)
        else:
            made = same_entries(node, x)
        at = (owner, name)
        return None if made is None else replace(made, big=(*made.big, at), parts=(*made.parts, at))

    def _stored(self, owner: Scope, name: str, tensor: onnx.TensorProto) -> Constant | None:
        key = (id(owner), name)
        if key not in self._opened:
            if tensor.data_type not in READ or len(tensor.dims) > 2 or min(tensor.dims, default=1) < 1:
                return None
            values = cache(lambda: array(tensor, self._folder))
            self._opened[key] = _leaf(owner, name, tuple(tensor.dims), tensor.data_type, values)
        return self._opened[key]

    def _constant(self, owner: Scope, node: onnx.NodeProto) -> Constant | None:
        name = node.output[0]
        given = attribute(node, "value")
        if given is not None:
            return self._stored(owner, name, given.t)
        number = attribute(node, "value_float") or attribute(node, "value_floats")
        if number is None:
            return None
        values = np.array(helper.get_attribute_value(number), np.float32)
        return _leaf(owner, name, values.shape, TensorProto.FLOAT, lambda: values)

    def dequantized(self, scope: Scope, node: onnx.NodeProto, x: Constant) -> Constant | None:
        """What the DequantizeLinear `node` makes of `x`; None where scales are shared by blocks."""
        blocks, axis = attribute(node, "block_size"), attribute(node, "axis")
        scale = self.trace(scope, node.input[1])
        zero = self.trace(scope, node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if scale is None or len(scale.shape) > 1 or (blocks is not None and blocks.i):
            return None
        if len(node.input) > 2 and node.input[2] and zero is None:
            return None
        along = (axis.i if axis is not None else 1) % 2
        numbers = [_line(part, along) for part in (scale, zero) if part is not None]

        def take(rows: Rows, at: int) -> npt.NDArray[Any]:
            factor, *offset = (number(rows, at) for number in numbers)
            codes = x.take(rows, at).astype(np.int32)
            values: npt.NDArray[Any] = (codes - offset[0].astype(np.int32) if offset else codes) * factor
            return values.astype(factor.dtype)

        inner = [x, scale, *([zero] if zero is not None else [])]
        return Constant(
            x.shape,
            scale.type,
            x.stored_type,
            take,
            ("DequantizeLinear", along, *(part.key for part in inner)),
            x.big,
            tuple(part for constant in inner for part in constant.parts),
            one_scale=scale.shape in ((), (1,)),
        )


def _leaf(
    owner: Scope, name: str, shape: tuple[int, ...], type: int, values: Callable[[], npt.NDArray[Any]]
) -> Constant:
    flat = (1,) * (2 - len(shape)) + shape

    def take(rows: Rows, axis: int) -> npt.NDArray[Any]:
        return _taken(values().reshape(flat), rows, axis)

    at = (owner, name)
    return Constant(shape, type, type, take, (id(owner), name), (at,), (at,))


def _taken(array: npt.NDArray[Any], rows: Rows, axis: int) -> npt.NDArray[Any]:
    """Rows of an axis of a 2-D array; an axis of one entry serves them all."""
    if array.shape[axis] == 1:
        return array
    found: npt.NDArray[Any] = array[rows] if axis == 0 else array[:, rows]
    return found


def _line(part: Constant, along: int) -> Callable[[Rows, int], npt.NDArray[Any]]:
    """Take from a constant of one axis at most, laid along the axis `along` of a 2-D one."""

    def take(rows: Rows, axis: int) -> npt.NDArray[Any]:
        line = part.take(slice(None), 1)
        return _taken(line.T if along == 0 else line, rows, axis)

    return take


def product(a: Constant, b: Constant | None) -> Constant | None:
    """Elementwise, broadcast."""
    if b is None:
        return None
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None
    entries = [part for part in (a, b) if part.shape == shape]
    if not entries:
        return None
    return Constant(
        shape,
        a.type,
        entries[0].stored_type,
        lambda rows, axis: a.take(rows, axis) * b.take(rows, axis),
        ("Mul", a.key, b.key),
        tuple(name for part in entries for name in part.big),
        (*a.parts, *b.parts),
    )


def same_entries(node: onnx.NodeProto, x: Constant) -> Constant | None:
    """Identity, Cast and Transpose."""
    if node.op_type == "Cast":
        to = helper.get_attribute_value(attribute(node, "to"))
        if to not in READ:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(to)
        return replace(x, type=to, take=lambda rows, axis: x.take(rows, axis).astype(dtype), key=("Cast", to, x.key))
    order = attribute(node, "perm")
    if node.op_type == "Identity" or len(x.shape) < 2 or (order is not None and list(order.ints) == [0, 1]):
        return x
    return replace(x, shape=x.shape[::-1], take=lambda rows, axis: x.take(rows, 1 - axis).T, key=("T", x.key))
