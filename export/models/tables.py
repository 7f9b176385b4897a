"""Embedding tables of a model: what its Gathers look up, by whichever chain of nodes it is stored.

Seen through Identity, Cast, Transpose, Mul with a scale and DequantizeLinear before the Gather, and DequantizeLinear
after it, which is how ONNX Runtime's dynamic quantizer writes a table. Tables inside of model-local functions are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from eigenselect.export.models.folding import Constant, Tracer
from eigenselect.export.models.scopes import Model, Name, Scope, attribute, is_standard
from eigenselect.export.operators.functions import DOMAIN

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
CODES = (TensorProto.INT8, TensorProto.UINT8)

SAME_IDS = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand", "Clip")
"""Operators whose values are those of their first input."""


@dataclass(frozen=True, eq=False)
class Place:
    """One lookup of a table.

    Attributes:
        scope: the graph that it is in.
        gather: the Gather.
        rows: name of the float rows, an output of the Gather or of the DequantizeLinear after it.
    """

    scope: Scope
    gather: onnx.NodeProto
    rows: str

    @property
    def ids(self) -> str:
        """Name of the ids, int32 or int64 of any shape."""
        return str(self.gather.input[1])


@dataclass(frozen=True, eq=False)
class HostTable:
    """An (n, d) embedding table of a model.

    Attributes:
        value: its entries.
        places: where it is looked up.
        big: names of the stored entries, first, and of all that the nodes before the Gathers make of them.
        parts: `big`, and the names of scales and zero points.
        others: what else uses it, in words: a tied output head is one.
    """

    value: Constant
    places: list[Place] = field(default_factory=list)
    big: list[Name] = field(default_factory=list)
    parts: list[Name] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the stored tensor, or of the constant, that holds the entries."""
        return self.big[0][1]

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.value.shape[0]

    @property
    def d(self) -> int:
        """Number of columns."""
        return self.value.shape[1]

    @property
    def type(self) -> int:
        """Element type of the gathered rows, of `FLOATS`."""
        return self.value.type

    @cached_property
    def description(self) -> str:
        """Name, shape and stored type, in words."""
        stored = helper.tensor_dtype_to_np_dtype(self.value.stored_type).name
        return f"{self.name!r} {self.n} x {self.d} {stored}"

    def read(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of the table, (len, d) float16 where the model's are, else float32."""
        taken = self.value.take(rows, 0)
        return taken if taken.dtype == np.float16 else taken.astype(np.float32, copy=False)


def find_tables(model: Model, folder: Path) -> list[HostTable]:
    """Every table that is looked up by rows in a model whose file is in `folder`.

    Raises:
        ValueError: a data file of the model cannot be used.
    """
    tracer = Tracer(folder)
    tables: dict[Any, HostTable] = {}
    for scope in model.scopes:
        for gather in scope.graph.node:
            if not _looks_rows_up(gather):
                continue
            value = tracer.trace(scope, gather.input[0])
            if value is None or len(value.shape) != 2:
                continue
            for rows, looked_up in _rows(model, tracer, scope, gather, value):
                table = tables.setdefault(looked_up.key, HostTable(looked_up))
                table.places.append(Place(scope, gather, rows))
                table.big.extend(name for name in looked_up.big if name not in table.big)
                table.parts.extend(name for name in looked_up.parts if name not in table.parts)
    for table in tables.values():
        table.others.extend(_others(model, table))
    return list(tables.values())


def _rows(
    model: Model, tracer: Tracer, scope: Scope, gather: onnx.NodeProto, value: Constant
) -> list[tuple[str, Constant]]:
    """Names of the float rows that a Gather leads to, each with what they are rows of."""
    name = gather.output[0]
    if value.type in FLOATS:
        return [(name, value)]
    users = model.uses[scope, name]
    if value.type not in CODES or not all(
        user is scope and node is not None and is_standard(node, "DequantizeLinear") and node.input[0] == name
        for user, node in users
    ):
        return []
    found = [(node.output[0], tracer.dequantized(scope, node, value)) for _, node in users if node is not None]
    # One scale for all: along an axis of the rows it would have another meaning than along one of the table.
    return [(rows, table) for rows, table in found if table is not None and table.one_scale]


def _others(model: Model, table: HostTable) -> list[str]:
    """What uses a table apart from its own lookups."""
    own = {(id(place.scope), place.gather.output[0]) for place in table.places}
    own |= {(id(scope), name) for scope, name in table.big}
    found = []
    for owner, name in table.big:
        for scope, node in model.uses[owner, name]:
            if node is None:
                found.append(f"the output {name!r}")
            elif (id(scope), node.output[0]) not in own:
                found.append(f"{node.op_type} {node.name or node.output[0]!r}")
    return found


def rows_by_input(model: Model, folder: Path) -> dict[str, int]:
    """The inputs of a model in `folder` that are ids, each with the rows of the smallest table that it looks up."""
    tracer = Tracer(folder)
    rows: dict[str, int] = {}
    for scope in model.scopes:
        for node in scope.graph.node:
            if not (node.domain == DOMAIN or _looks_rows_up(node)):
                continue
            table = tracer.trace(scope, node.input[0])
            ids = graph_input(scope, node.input[-1])  # the last input of our operators too
            if table is not None and table.shape and ids is not None:
                rows[ids] = min(table.shape[0], rows.get(ids, table.shape[0]))
    return rows


def _looks_rows_up(node: onnx.NodeProto) -> bool:
    axis = attribute(node, "axis")
    return is_standard(node, "Gather") and (axis is None or axis.i == 0)


def graph_input(scope: Scope, name: str) -> str | None:
    """The input of the model that the values of `name` are taken from, unchanged; None where they are computed."""
    owner = scope.owner(name)
    if owner is None or name in owner.stored:
        return None
    node = owner.made.get(name)
    if node is None:
        return name if owner.outer is None else _outside(owner, name)
    if is_standard(node, *SAME_IDS):
        return graph_input(owner, node.input[0])
    if is_standard(node, "Concat", "Where"):
        sources = [graph_input(owner, source) for source in node.input[int(node.op_type == "Where") :]]
        return next((source for source in sources if source is not None), None)
    return None


def _outside(scope: Scope, name: str) -> str | None:
    """What the input `name` of a body of Loop or Scan is given by the node around it."""
    holder, at = scope.holder, scope.inputs.index(name)
    if holder is None or scope.outer is None or at >= len(holder.input) or not is_standard(holder, "Loop", "Scan"):
        return None
    return graph_input(scope.outer, holder.input[at]) if holder.input[at] else None
