"""Products right after a lookup: a payload's matrix is multiplied into their constants, and need not be stored.

Rows Z M that meet a constant W are Z (M W): as many bytes as W alone, and one product in place of two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Projected, Replaced
from eigenselect.export.models.constants.constant import Constant, integers
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.lookups.lookup import axes_rank
from eigenselect.export.models.scopes import Model, Scope, attribute, is_standard
from eigenselect.export.models.tables import HostTable

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Product:
    """A product of the rows of a lookup, or of what keeps their columns, with a constant.

    Attributes:
        scope: the graph that it is in.
        node: a MatMul or a Gemm; its second input is the constant.
        by: (d, h) or (d,), or (h, d) where it is transposed, float32.
        transposed: whether it is.
    """

    scope: Scope
    node: onnx.NodeProto
    by: Constant
    transposed: bool

    def times(self, matrix: Doubles) -> npt.NDArray[np.float32]:
        """The constant for rows that lack `matrix`, (d, d), in the constant's own layout."""
        own = self.by.whole().astype(np.float64)
        found: npt.NDArray[np.float32] = (own @ matrix.T if self.transposed else matrix @ own).astype(np.float32)
        return found


def without_matrix(payload: Payload) -> tuple[Payload, Doubles] | None:
    """What a payload multiplies by a (d, d) matrix, and that; None where it ends in no such product.

    Rows that are stored apart are zeros in the coordinates before the product too, or else it is none.
    """
    if isinstance(payload, Projected) and payload.part.k == payload.k:
        matrix = payload.matrix.read(slice(None)) if isinstance(payload.matrix, Payload) else payload.matrix
        return payload.part, matrix.astype(np.float64)
    if isinstance(payload, Replaced) and not payload.table.any() and (found := without_matrix(payload.part)):
        return replace(payload, part=found[0]), found[1]
    return None


def products(model: Model, table: HostTable, tracer: Tracer) -> list[Product]:
    """All that the rows of `table` are for, where that is products with float32 constants that serve nothing else.

    None of them where anything else reads the rows, or what is made of them before a product other than by `KEEPING`.
    """
    if table.type != TensorProto.FLOAT or any(place.around is not None for place in table.places):
        return []
    found: list[Product] = []
    ranks = [axes_rank(place.scope, place.ids) for place in table.places]
    waiting = [
        (place.scope, place.given, None if rank is None else rank + 1)
        for place, rank in zip(table.places, ranks, strict=True)
    ]
    while waiting:
        of, name, rank = waiting.pop()
        for scope, node in model.uses[of, name]:
            if node is None:
                return []
            if (product := _product(scope, node, name, table.d, tracer)) is not None:
                found.append(product)
                continue
            if not is_standard(node, *KEEPING) or node.input[0] != name:
                return []
            second = tracer.trace(scope, node.input[1]) if len(node.input) > 1 else None
            keeps, becomes = _kept(node, None if second is None else integers(second), table.d, rank)
            if not keeps:
                return []
            waiting.append((scope, node.output[0], becomes))
    return found if all(_is_apart(model, product, found) for product in found) else []


def _product(scope: Scope, node: onnx.NodeProto, name: str, d: int, tracer: Tracer) -> Product | None:
    if not is_standard(node, "MatMul", "Gemm") or list(node.input).count(name) != 1 or node.input[0] != name:
        return None
    turned = {side: (found := attribute(node, side)) is not None and bool(found.i) for side in ("transA", "transB")}
    by = tracer.trace(scope, node.input[1])
    if by is None or turned["transA"] or {kind for _, kind in by.stored} != {TensorProto.FLOAT}:
        return None
    if by.type != TensorProto.FLOAT or len(by.shape) not in (1, 2) or by.shape[-1 if turned["transB"] else 0] != d:
        return None
    return Product(scope, node, by, turned["transB"])


def _is_apart(model: Model, product: Product, products: list[Product]) -> bool:
    """Whether the constant of a product serves these products alone, and each of them in the same layout."""
    inside = {(id(scope), name) for scope, name in product.by.big}
    alike = {
        (id(other.scope), other.node.output[0])
        for other in products
        if (other.by.key, other.transposed) == (product.by.key, product.transposed)
    }
    return all(
        part[1] not in part[0].inputs  # it can be given with a run
        and all(node is not None and (id(scope), node.output[0]) in inside | alike for scope, node in model.uses[part])
        for part in product.by.big
    )


def _kept(node: onnx.NodeProto, given: list[int] | None, d: int, rank: int | None) -> tuple[bool, int | None]:
    """Whether a node of `KEEPING` leaves the d columns what they are, and how many axes it gives.

    Args:
        node: the node.
        given: numbers of its second input: axes, or a shape.
        d: columns of its first input.
        rank: axes of its first input, where that is known.
    """
    named = {found.name: list(found.ints) or found.i for found in node.attribute}
    axes = named.get("axes", given) or []
    fewer = None if rank is None else rank - len(axes)
    match node.op_type:
        case "Unsqueeze":
            more = None if rank is None else rank + len(axes)
            return _leave_last(axes, more), more
        case "Squeeze":
            return _leave_last(axes, rank), fewer
        case "ReduceSum" | "ReduceMean":
            return _leave_last(axes, rank), rank if named.get("keepdims", 1) else fewer
        case "Reshape":
            return (given or [])[-1:] == [d], len(given or [])
        case "Flatten":
            return named.get("axis", 1) in (-1, None if rank is None else rank - 1), 2
        case "Transpose":
            order = named.get("perm", [])
            return bool(order) and order[-1] == len(order) - 1, rank
    return True, rank


def _leave_last(axes: list[int], rank: int | None) -> bool:
    """Whether some `axes`, of a value of so many, are given and the last one is not among them."""
    return bool(axes) and all(axis < -1 if rank is None or axis < 0 else axis < rank - 1 for axis in axes)


KEEPING = ("Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "ReduceSum", "ReduceMean")
"""Operators that may do with each column what they do with every other: a product can go before them or after."""
