"""A value that is stored, or made of such."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from eigenselect.export.models.scopes import Name
from eigenselect.export.models.stored import FLOAT8, PAIRED

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
CODES = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, *PAIRED, *FLOAT8)
"""Types of entries that are scaled before they are used."""

READ = (*FLOATS, *CODES, TensorProto.INT32, TensorProto.INT64)
"""Element types that are followed."""

MOST_AXES = 4

Rows = slice | npt.NDArray[np.integer]

Array = npt.NDArray[Any]

Take = Callable[[Rows, int], Array]


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored tensor, or what operators make of such.

    Attributes:
        shape: sizes of its axes.
        type: element type, of TensorProto.
        take: (rows, axis) -> its entries at those rows of that axis, which is counted from the last one, −1. A constant
            that has no such axis, or one entry along it, gives all it has: that is broadcast.
        stored: name and element type of the tensors that the entries come from, in their order.
        big: the names on the way from the stored entries, those of the tensors first.
        parts: all names that it is made of: `big`, and scales, zero points, shapes and the like.
        key: equal for equal expressions.
        depth: operators on the longest way.
    """

    shape: tuple[int, ...]
    type: int
    take: Take
    stored: tuple[tuple[str, int], ...]
    big: tuple[Name, ...]
    parts: tuple[Name, ...] = ()
    key: Hashable = None
    depth: int = 0

    def whole(self) -> Array:
        """All entries."""
        return self.take(slice(None), -1)

    def like(self, shape: tuple[int, ...], take: Take, type: int | None = None) -> Constant:
        """The same entries in another shape or type."""
        return replace(self, shape=shape, take=take, type=self.type if type is None else type)

    @property
    def is_one(self) -> bool:
        """Whether it is one number."""
        return self.shape in ((), (1,))


def leaf(at: Name, shape: tuple[int, ...], type: int, values: Callable[[], Array]) -> Constant:
    """The stored tensor of that name."""
    owner, name = at
    return Constant(
        shape,
        type,
        lambda rows, axis: taken(values(), rows, axis),
        ((name, type),),
        (at,),
        (at,),
        (id(owner), name),
    )


def taken(array: Array, rows: Rows, axis: int) -> Array:
    """What `Constant.take` gives of an array."""
    if array.ndim < -axis or array.shape[axis] == 1:
        return array
    found: Array = array[(..., rows, *((slice(None),) * (-axis - 1)))]
    return found


def integers(constant: Constant) -> list[int] | None:
    """The numbers of a constant that is a shape or axes; None if it is none."""
    if constant.type not in (TensorProto.INT32, TensorProto.INT64) or len(constant.shape) > 1:
        return None
    if sum(constant.shape) > 2 * MOST_AXES:
        return None
    return [int(value) for value in constant.whole().ravel()]
