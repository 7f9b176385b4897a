"""Embedding tables of a model: what is looked up in it, by whichever chain of nodes it is stored.

`constants` says what is followed before a lookup, and `lookups` which nodes are one and what is followed after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.words import quoted
from eigenselect.export.models.constants.constant import Constant, Rows
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.lookups.places import Place, find_places, lookup_of
from eigenselect.export.models.scopes import Model, Name
from eigenselect.export.models.stored import type_name
from eigenselect.export.operators.functions import DOMAIN

BLOCK_BYTES = 1 << 24

MOST_NAMED = 3
"""Shards that a description names."""


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
        """Name of the stored tensor, or of the constant, that holds the entries; of shards the first."""
        return self.value.stored[0][0]

    @property
    def names(self) -> list[str]:
        """Every name of it: those of its shards, and of its copies."""
        return [*(name for name, _ in self.value.stored), *self.copies]

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
        """Element type of the gathered rows, of `constants.constant.FLOATS`."""
        return self.value.type

    @property
    def stored_type(self) -> int:
        """Element type of the stored tensor."""
        return self.value.stored[0][1]

    @cached_property
    def description(self) -> str:
        """Name, shape and stored type, in words."""
        shards = " + ".join(quoted(name) for name, _ in self.value.stored[:MOST_NAMED])
        more = f" + {len(self.value.stored) - MOST_NAMED} more" if len(self.value.stored) > MOST_NAMED else ""
        names = " = ".join((shards + more, *map(quoted, self.copies)))
        return f"{names} {self.n} x {self.d} {type_name(self.stored_type)}"

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Rows of the table, (len, d) float16 where the model's are, else float32."""
        taken = self.value.take(rows, -2)
        return taken if taken.dtype == np.float16 else taken.astype(np.float32, copy=False)

    def rows_at(self, kept: npt.NDArray[np.int64] | None) -> Callable[[Rows], npt.NDArray[Any]]:
        """`read` of the table that the rows `kept` are; None is all of them."""
        return self.read if kept is None else lambda rows: self.read(kept[rows])


def find_tables(model: Model, folder: Path) -> list[HostTable]:
    """Every table that is looked up by rows in a model whose file is in `folder`; equal ones are one.

    Raises:
        ValueError: a data file of the model cannot be used.
    """
    tables: dict[Any, HostTable] = {}
    for place, looked_up in find_places(model, Tracer(folder)):
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
    return all(a.value.take(rows, -2).tobytes() == b.value.take(rows, -2).tobytes() for rows in blocks)


def _others(model: Model, table: HostTable) -> list[str]:
    """What uses a table apart from its own lookups."""
    inside = [*table.big, *(name for place in table.places for name in (*place.steps, (place.scope, place.given)))]
    own = {(id(scope), name) for scope, name in inside}
    found = []
    for owner, name in table.big:
        for scope, node in model.uses[owner, name]:
            if node is None:
                found.append(f"the output {quoted(name)}")
            elif (id(scope), node.output[0]) not in own:
                found.append(f"{node.op_type} {quoted(node.name or node.output[0])}")
    return found


def rows_by_input(model: Model, folder: Path) -> dict[str, int]:
    """The inputs of a model in `folder` that are ids, each with the rows of the smallest table that it looks up."""
    tracer = Tracer(folder)
    rows: dict[str, int] = {}
    for scope in model.scopes:
        for node in scope.graph.node:
            if node.domain == DOMAIN:
                ids, table = node.input[-1], tracer.trace(scope, node.input[0])
            else:
                lookup = lookup_of(tracer, scope, node)
                ids, table = ("", None) if lookup is None else (lookup.ids, lookup.table)
            source = graph_input(scope, ids)
            if table is not None and table.shape and source is not None:
                rows[source] = min(table.shape[0], rows.get(source, table.shape[0]))
    return rows
