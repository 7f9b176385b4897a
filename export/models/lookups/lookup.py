"""What a node that looks rows up is known by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from eigenselect.export.models.constants.constant import Constant
from eigenselect.export.models.scopes import Name, Scope

Around = Callable[[str, str, str], list[onnx.NodeProto]]
"""(prefix, ids, rows) -> nodes that give the outputs of a node when the rows of `ids` are looked up beside it.

Their names, and those of the values between them, start with `prefix`.
"""


@dataclass(frozen=True, eq=False)
class Lookup:
    """A node that looks rows of a constant up.

    Attributes:
        ids: name of the ids, int32 or int64 of any shape.
        table: (n, ...) what it takes rows of.
        steps: values that only serve to come from the ids to the node, what is made of others first.
        around: None where its first output is the rows and nothing else.
    """

    ids: str
    table: Constant
    steps: tuple[Name, ...] = ()
    around: Around | None = None


def axes_rank(scope: Scope, name: str) -> int | None:
    """Number of axes of a value, where the model says it."""
    owner = scope.owner(name)
    if owner is None:
        return None
    ranks = owner.memory["rank"]
    if not ranks.get(id(owner)):
        values = [*owner.graph.input, *owner.graph.value_info]
        ranks[id(owner)] = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in values
            if value.type.tensor_type.HasField("shape")
        }
    found: int | None = ranks[id(owner)].get(name)
    return found


def is_last(scope: Scope, name: str, axes: list[int] | None) -> bool:
    """Whether `axes` are one that is put behind those of `name`."""
    return axes == [-1] or (axes is not None and len(axes) == 1 and axes[0] == axes_rank(scope, name))
