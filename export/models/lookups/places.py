"""Every lookup of a model, with the float rows that each leads to.

Rows are float, or codes that a DequantizeLinear with one scale, or a Cast and arithmetic, make float. What they are
multiplied by, or added to, is one number, a number for each column, or numbers that the same ids look up apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from eigenselect.export.models.constants.constant import CODES, FLOATS, Constant, integers
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.constants.views import reshaped
from eigenselect.export.models.lookups.block_quantized import gather_block_quantized
from eigenselect.export.models.lookups.embed_layer_norm import embed_layer_norm
from eigenselect.export.models.lookups.gather import gather
from eigenselect.export.models.lookups.gather_nd import gather_nd
from eigenselect.export.models.lookups.lookup import Around, Lookup, axes_rank, is_last
from eigenselect.export.models.scopes import STANDARD, Model, Name, Scope, is_standard
from eigenselect.export.models.stored import FLOAT8

MICROSOFT = ("com.microsoft",)

FORMS: dict[str, tuple[tuple[str, ...], Callable[[Tracer, Scope, onnx.NodeProto], Lookup | None]]] = {
    "Gather": (STANDARD, gather),
    "GatherND": (STANDARD, gather_nd),
    "GatherBlockQuantized": (MICROSOFT, gather_block_quantized),
    "EmbedLayerNormalization": (MICROSOFT, embed_layer_norm),
}
"""Operator -> the domains that it may be of, and what finds the lookup that it is."""

AFTER = ("Cast", "Unsqueeze", "Mul", "Div", "Add", "Sub", "DequantizeLinear")
"""What makes rows of others."""


@dataclass(frozen=True, eq=False)
class Place:
    """One lookup of a table.

    Attributes:
        scope: the graph that it is in.
        ids: name of the ids, int32 or int64 of any shape.
        given: name of the output that the float rows are, or that is made of them.
        steps: values that only serve to come from the ids to it, what is made of others first.
        around: what makes the node's outputs of the rows; None where `given` is the rows.
    """

    scope: Scope
    ids: str
    given: str
    steps: tuple[Name, ...]
    around: Around | None


@dataclass(eq=False)
class Rows:
    """A value that is the rows of a constant by some ids.

    Attributes:
        scope: where it is.
        name: its own.
        lookup: the one that the codes come from, or the float rows.
        table: (n, ...) what it is rows of.
        steps: values before it, what is made of others first.
        codes: whether codes are looked up.
        scaled: whether these have been multiplied since.
        leads: the values that are made of it, by codes of which it is the rows or the scales.
        helps: whether it is what codes are multiplied by, or added to.
    """

    scope: Scope
    name: str
    lookup: Lookup
    table: Constant
    steps: tuple[Name, ...]
    codes: bool
    scaled: bool
    leads: list[Rows] = field(default_factory=list)
    helps: bool = False

    @property
    def is_table(self) -> bool:
        """Whether it can be the float rows of a table."""
        return len(self.table.shape) == 2 and self.table.type in FLOATS and (self.scaled or not self.codes)


def lookup_of(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> Lookup | None:
    """The lookup that `node` is; None if it is none, or not one of `FORMS`."""
    domains, form = FORMS.get(node.op_type, ((), None))
    return form(tracer, scope, node) if form is not None and node.domain in domains else None


def find_places(model: Model, tracer: Tracer) -> list[tuple[Place, Constant]]:
    """Every lookup of float rows, each with the table that it is one of, in the order of the nodes."""
    found = []
    for scope in model.scopes:
        looked_up = _looked_up(tracer, scope)
        for rows in looked_up:
            for last in _ends(model, rows) or []:
                place = Place(scope, last.lookup.ids, last.name, last.steps, last.lookup.around)
                found.append((place, last.table))
    return found


def _looked_up(tracer: Tracer, scope: Scope) -> list[Rows]:
    """What each lookup of a graph gives, with all that leads on from it."""
    known: dict[str, Rows] = {}
    first = []
    for node in scope.graph.node:
        lookup = lookup_of(tracer, scope, node)
        if lookup is not None:
            table = lookup.table
            rows = Rows(scope, node.output[0], lookup, table, lookup.steps, table.type in CODES, False)
            first.append(rows)
        else:
            made = _made(tracer, scope, node, known) if is_standard(node, *AFTER) else None
            if made is None:
                continue
            rows = made
        known[node.output[0]] = rows
    return first


def _made(tracer: Tracer, scope: Scope, node: onnx.NodeProto, known: dict[str, Rows]) -> Rows | None:
    """The rows that `node` makes of rows; None if it makes none that are followed."""
    of = [known[name] for name in node.input if name in known]
    main = max(of, key=lambda rows: rows.codes, default=None)
    if main is None or sum(rows.codes for rows in of) > 1:
        return None
    for rows in of:  # whether or not they fit: a column of them that codes meet is no table of its own
        rows.helps |= main.codes and not rows.codes and rows.table.shape[1:] in ((), (1,))
    if any(not _same_ids(scope, main.lookup.ids, rows.lookup.ids) for rows in of):
        return None
    inputs = [known[name].table if name in known else _beside(tracer, scope, name, main) for name in node.input]
    if any(name and constant is None for name, constant in zip(node.input, inputs, strict=True)):
        return None
    if not _keeps_rows(scope, node, known, main, inputs):
        return None
    if node.op_type == "Unsqueeze":  # behind those of the ids is behind the rows of the table
        inputs = [inputs[0], replace(axes, take=lambda rows, axis: np.array([-1])) if (axes := inputs[1]) else None]
    table = tracer.apply(node, inputs)
    if table is None or table.shape[:1] != main.table.shape[:1]:
        return None
    scales = node.op_type in ("Mul", "Div", "DequantizeLinear") or main.table.type in FLOAT8
    steps = tuple(step for rows in of for step in ((scope, rows.name), *rows.steps))
    made = Rows(scope, node.output[0], main.lookup, table, steps, main.codes, main.scaled or (main.codes and scales))
    for rows in of:
        rows.leads.append(made)
    return made


def _beside(tracer: Tracer, scope: Scope, name: str, rows: Rows) -> Constant | None:
    """A constant that rows meet: axes of one entry before theirs are left out, where there are ids enough for them."""
    found, columns = tracer.trace(scope, name), len(rows.table.shape) - 1
    if found is None or len(found.shape) <= columns:
        return found
    rank = axes_rank(scope, rows.lookup.ids)
    if rank is None or len(found.shape) > rank + columns:
        return found
    return reshaped(found, found.shape[len(found.shape) - columns :]) or found


def _keeps_rows(
    scope: Scope, node: onnx.NodeProto, known: dict[str, Rows], main: Rows, inputs: list[Constant | None]
) -> bool:
    """Whether `node` does with each row what it does with the table, and is a step from codes to rows of a table."""
    columns, others = len(main.table.shape) - 1, [known[name] for name in node.input if name in known]
    beside = [constant for name, constant in zip(node.input, inputs, strict=True) if name not in known and constant]
    if node.op_type == "Cast":
        return not main.scaled
    if node.op_type == "Unsqueeze":
        axes = integers(beside[0]) if beside else None
        return not main.codes and columns == 0 and is_last(scope, main.lookup.ids, axes)
    if not main.codes or main.lookup.around is not None:
        return False
    if node.op_type == "DequantizeLinear":
        return len(others) == 1 and all(constant.is_one for constant in beside) and node.input[0] == main.name
    if any(len(rows.table.shape) != columns + 1 for rows in others):
        return False
    if not main.scaled:
        return all(len(constant.shape) <= columns for constant in beside)
    # A model may go on with arithmetic of its own: what each row has for itself is still a part of its codes.
    apart = len(others) > 1 and all(rows is main or rows.table.shape[-1] == 1 for rows in others)
    return apart or (node.op_type in ("Add", "Sub") and all(constant.is_one for constant in beside))


def _same_ids(scope: Scope, one: str, other: str) -> bool:
    return _plain(scope, one) == _plain(scope, other)


def _plain(scope: Scope, ids: str) -> str:
    """The name of ids before they were cast."""
    for _ in range(len(scope.graph.node)):
        node = scope.made.get(ids)
        if node is None or not is_standard(node, "Cast", "Identity"):
            break
        ids = node.input[0]
    return ids


def _ends(model: Model, rows: Rows) -> list[Rows] | None:
    """The float rows of a table that `rows` lead to; None where anything else is done with codes before."""
    if not rows.codes:
        return [] if rows.helps or _helps(rows) or not rows.is_table else [rows]
    leads = {made.name for made in rows.leads}
    outside = any(
        user is not rows.scope or node is None or node.output[0] not in leads
        for user, node in model.uses[rows.scope, rows.name]
    )
    if rows.is_table and (outside or not leads):
        return [rows]
    if outside or not leads:
        return None
    found = [_ends(model, made) for made in rows.leads]
    return None if any(ends is None for ends in found) else [last for ends in found for last in ends or []]


def _helps(rows: Rows) -> bool:
    """Whether float rows are, after more steps, what codes are multiplied by or added to."""
    return any(made.helps or made.codes or _helps(made) for made in rows.leads)
