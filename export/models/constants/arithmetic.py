"""Entry by entry, broadcast: Mul, Div, Add, Sub."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from eigenselect.export.models.constants.constant import FLOATS, Array, Constant, Rows
from eigenselect.export.models.constants.views import Inputs

OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "Mul": np.multiply,
    "Div": np.divide,
    "Add": np.add,
    "Sub": np.subtract,
}


def arithmetic(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """What an operator makes of two constants, one of which has all axes: the entries are its own."""
    a, b = (*inputs, None, None)[:2]
    if a is None or b is None or a.type != b.type or (node.op_type == "Div" and a.type not in FLOATS):
        return None
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None
    of = [part for part in (a, b) if part.shape == shape]
    if not of:
        return None
    operation = OPERATIONS[node.op_type]

    def take(rows: Rows, axis: int) -> Array:
        with np.errstate(all="ignore"):
            return operation(a.take(rows, axis), b.take(rows, axis))

    return Constant(shape, a.type, take, of[0].stored, tuple(name for part in of for name in part.big))
