"""Nodes put in place of the lookups of a table; all else of the model stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from eigenselect.export.host.products import Doubles, Product
from eigenselect.export.models.lookups.places import Place
from eigenselect.export.models.scopes import STANDARD, Model, Name, Scope
from eigenselect.export.models.tables import HostTable
from eigenselect.export.operators.functions import operator

FUNCTIONS_IR = 8
"""First ir_version with model-local functions."""

OVERRIDABLE_IR = 4
"""Before this ir_version every initializer is listed among the inputs too, and cannot be overridden."""

Lookup = Callable[[str], list[onnx.NodeProto]]
"""Name of the ids -> nodes that look rows up; the last one gives them, in the host's type."""


@dataclass(frozen=True, eq=False)
class Folded:
    """A constant of a product, with a matrix multiplied into it.

    Attributes:
        of: the host's name for it.
        name: of what is stored now.
        own: what it was, float32.
        values: what it is, of the same shape.
    """

    of: str
    name: str
    own: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Splice:
    """What was put into a model.

    Attributes:
        prefix: of the names of all its nodes and tensors.
        type: element type of the rows.
        lookups: names of the ids and of the rows wherever the table was looked up.
        folded: constants of the host that have a matrix in them now.
    """

    prefix: str
    type: int
    lookups: list[tuple[str, str]]
    folded: Sequence[Folded] = ()


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in STANDARD), default=0)


def free_prefix(names: set[str], first: str = "es") -> str:
    """A prefix that no name has. It is short: what names take is no part of a payload's bytes."""
    number = 0
    while any(name.startswith(f"{first}{number}.") for name in names):
        number += 1
    return f"{first}{number}."


def replace_lookups(found: Model, table: HostTable, prefix: str, lookup: Lookup) -> Splice:
    """Let `lookup` give the rows wherever `table` is looked up, in the model that `found` was made of.

    The names of its nodes start with `prefix`.

    What then has no use left of the table is removed. `found` and `table` no longer describe the model afterwards.
    """
    beside, lookups = free_prefix(found.names(), "host"), []
    for number, place in enumerate(table.places):
        rows, after = _around(place, f"{beside}{number}.")
        nodes = lookup(place.ids)
        nodes[-1].output[0] = rows
        at = next(i for i, node in enumerate(place.scope.graph.node) if place.given in node.output)
        for node in reversed([*nodes, *after]):
            place.scope.graph.node.insert(at + 1, node)
        _remove(found, place.scope, place.given)
        for node in after:
            for name in node.input:
                if name and (owner := place.scope.owner(name)) is not None:
                    found.uses[owner, name].append((place.scope, node))
        lookups.append((place.ids, rows))
    _remove_unused(found, [*(name for place in table.places for name in place.steps), *reversed(table.parts)])
    return Splice(prefix, table.type, lookups)


def fold(found: Model, products: Sequence[Product], matrix: Doubles, prefix: str) -> list[Folded]:
    """Multiply `matrix`, (d, d), into the constants of products, which are stored under names that start with `prefix`.

    What then has no use left of their own is removed.
    """
    folded: dict[Hashable, Folded] = {}
    for product in products:
        key, scope, node = product.by.key, product.scope, product.node
        if key not in folded:
            folded[key] = Folded(
                node.input[1], f"{prefix}product{len(folded)}", product.by.whole(), product.times(matrix)
            )
        if (owner := scope.owner(node.input[1])) is not None:
            uses = found.uses[owner, node.input[1]]
            uses[:] = [use for use in uses if not _gives(use, scope, node.output[0])]
        node.input[1] = folded[key].name
    _remove_unused(found, [part for product in products for part in reversed(product.by.parts)])
    return list(folded.values())


def _gives(use: tuple[Scope, onnx.NodeProto | None], scope: Scope, output: str) -> bool:
    """Whether a use of a value is by the node of that graph that gives `output`."""
    return use[0] is scope and use[1] is not None and output in use[1].output


def _remove(found: Model, scope: Scope, output: str) -> None:
    """Take a node away, by what it gives."""
    at = next(i for i, node in enumerate(scope.graph.node) if output in node.output)
    for name in scope.graph.node[at].input:
        owner = scope.owner(name) if name else None
        if owner is not None:
            found.uses[owner, name] = [use for use in found.uses[owner, name] if not _gives(use, scope, output)]
    del scope.graph.node[at]


def _remove_unused(found: Model, names: Iterable[Name]) -> None:
    """Take away those of `names`, each after what is made of it, that nothing uses any more."""
    for scope, name in reversed(dict.fromkeys(reversed([*names]))):  # what is made of another comes before it
        if found.uses[scope, name]:
            continue
        if name in scope.made:
            _remove(found, scope, name)
        _remove_named(scope.graph, name)


def _around(place: Place, prefix: str) -> tuple[str, list[onnx.NodeProto]]:
    """Name for the rows, and the nodes that give of them what the node gave that is replaced."""
    if place.around is None:
        return place.given, []
    rows = f"{prefix}rows"
    return rows, place.around(prefix, place.ids, rows)


def _remove_named(graph: onnx.GraphProto, name: str) -> None:
    """Take a value that is gone out of every list that names it."""
    for values, key in (
        (graph.initializer, "name"),
        (graph.input, "name"),
        (graph.value_info, "name"),
        (graph.quantization_annotation, "tensor_name"),
    ):
        for at in reversed([i for i, value in enumerate(values) if getattr(value, key) == name]):
            del values[at]


def add(
    model: onnx.ModelProto, initializers: Sequence[onnx.TensorProto], functions: Sequence[onnx.FunctionProto]
) -> None:
    """Add what nodes refer to; the ir_version is raised only where functions need it.

    Raises:
        ValueError: the model has another function of one of their names.
    """
    old = model.ir_version < OVERRIDABLE_IR
    if functions and model.ir_version < FUNCTIONS_IR:
        model.ir_version = FUNCTIONS_IR
        if old:  # listed inputs would now be overridable, and no constants any more
            stored = {tensor.name for tensor in model.graph.initializer}
            for at in reversed([i for i, value in enumerate(model.graph.input) if value.name in stored]):
                del model.graph.input[at]
    elif old:
        model.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in initializers
        )
    model.graph.initializer.extend(initializers)
    here = {(function.domain, function.name): function for function in model.functions}
    for function in functions:
        same = here.get((function.domain, function.name))
        if same is None:
            model.functions.append(function)
        elif same.SerializeToString() != function.SerializeToString():
            _generalise(same, opset_of(model))
        if function.domain not in {entry.domain for entry in model.opset_import}:
            model.opset_import.append(helper.make_opsetid(function.domain, 1))


def _generalise(function: onnx.FunctionProto, opset: int) -> None:
    """Turn a function of an earlier rewrite into the one for all rows, padded ones too."""
    forms = itertools.product((False, True), repeat=2)
    bodies = [operator(function.name, opset, padded=padded, narrow=narrow) for padded, narrow in forms]
    if function.SerializeToString() not in {body.SerializeToString() for body in bodies}:
        raise ValueError(
            f"the host has a {function.domain}.{function.name} of another version of this program: "
            "rewrite the original model instead"
        )
    function.CopyFrom(bodies[-1])
