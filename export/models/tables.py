"""Embedding tables of a model: what is looked up in it, by whichever chain of nodes it is stored.

Seen through Identity, Cast, Transpose, Mul with a scale and DequantizeLinear before the lookup, and what `lookups`
follows after it. Tables inside of model-local functions are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from eigenselect.export.models.folding import Constant, Tracer
from eigenselect.export.models.lookups import Place, ids_of, places
from eigenselect.export.models.scopes import Model, Name, Scope, is_standard
from eigenselect.export.operators.functions import DOMAIN

SAME_IDS = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand", "Clip")
"""Operators whose values are those of their first input."""

BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class HostTable:
    """An (n, d) embedding table of a model.

    Attributes:
        value: its entries.
        places: where it is looked up.
        copies: names of the tensors that hold the same entries once more.
        big: names of the stored entries, first, and of all that the nodes before the Gathers make of them.
        parts: `big`, and the names of scales and zero points.
        others: what else uses it, in words: a tied output head is one.
    """

    value: Constant
    places: list[Place] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
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
        """Element type of the gathered rows, of `lookups.FLOATS`."""
        return self.value.type

    @cached_property
    def description(self) -> str:
        """Name, shape and stored type, in words."""
        stored = helper.tensor_dtype_to_np_dtype(self.value.stored_type).name
        names = " = ".join(map(repr, (self.name, *self.copies)))
        return f"{names} {self.n} x {self.d} {stored}"

    def read(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of the table, (len, d) float16 where the model's are, else float32."""
        taken = self.value.take(rows, 0)
        return taken if taken.dtype == np.float16 else taken.astype(np.float32, copy=False)


def find_tables(model: Model, folder: Path) -> list[HostTable]:
    """Every table that is looked up by rows in a model whose file is in `folder`; equal ones are one.

    Raises:
        ValueError: a data file of the model cannot be used.
    """
    tracer = Tracer(folder)
    tables: dict[Any, HostTable] = {}
    for scope in model.scopes:
        for node in scope.graph.node:
            for place, looked_up in places(model, tracer, scope, node):
                table = tables.setdefault(looked_up.key, HostTable(looked_up))
                table.places.append(place)
                table.big.extend(name for name in looked_up.big if name not in table.big)
                table.parts.extend(name for name in looked_up.parts if name not in table.parts)
    found = _united(list(tables.values()))
    for table in found:
        table.others.extend(_others(model, table))
    return found


def _united(tables: list[HostTable]) -> list[HostTable]:
    """The first of each set of bitwise equal tables, with the lookups of all: a model may store one twice."""
    found: list[HostTable] = []
    for table in tables:
        same = next((first for first in found if _are_equal(first, table)), None)
        if same is None:
            found.append(table)
            continue
        same.copies.append(table.name)
        same.places.extend(table.places)
        same.big.extend(table.big)
        same.parts.extend(name for name in table.parts if name not in same.parts)
    return found


def _are_equal(a: HostTable, b: HostTable) -> bool:
    """Whether two tables have the same type, shape and bits; read a block at a time, up to the first difference."""
    if (a.type, a.value.shape) != (b.type, b.value.shape):
        return False
    step = max(1, BLOCK_BYTES // (4 * a.d))
    blocks = (slice(start, start + step) for start in range(0, a.n, step))
    return all(a.value.take(rows, 0).tobytes() == b.value.take(rows, 0).tobytes() for rows in blocks)


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
            if not (node.domain == DOMAIN or ids_of(tracer, scope, node) is not None):
                continue
            table = tracer.trace(scope, node.input[0])
            ids = graph_input(scope, node.input[-1])  # the last input of our operators too
            if table is not None and table.shape and ids is not None:
                rows[ids] = min(table.shape[0], rows.get(ids, table.shape[0]))
    return rows


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
